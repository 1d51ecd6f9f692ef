"""judging: metrics that the judge `kayenta` judges, against a plain loop of one metric at a time.

The plain loop is the specification read with scipy's ranks, without any thought of speed
(`tests.rig.plain_judge`). Both run in this process, one after the other, in seconds of the processor,
and give the same labels.
"""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass
from itertools import cycle, islice
from math import log2
from statistics import median

import numpy as np

from tasks.domain.canary import CanaryConfig, MetricConfig, Thresholds
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.kayenta import judge_kayenta
from tests.benchmarks.figure import Figure
from tests.rig.plain_judge import classify_plainly

NAME = "judging"
SIZES = {60: (1, 10, 100, 1000, 10_000), 240: (1, 10, 100, 1000), 1440: (1, 10, 100)}
"""Points a side, and of how many metrics."""
PLAIN = {60: 40, 240: 20, 1440: 8}
"""Metrics that the plain loop judges."""
AIM = 20
"""Times that ours is to be faster at `AIMED` points and metrics."""
AIMED = (60, 1000)
REPEATS = 3
GAPS = 0.1
MIB, MICRO = 2**20, 1e-6


@dataclass(frozen=True)
class Timed:
    """Seconds of the processor for each metric."""

    ours: float
    plain: float


def measure() -> list[Figure]:
    """Time by points and metrics, growth, and memory."""
    timed = {(points, count): _timed(points, count) for points, counts in SIZES.items() for count in counts}
    figures = [
        Figure(NAME, _told(*size, found), found.ours / MICRO, found.plain / MICRO, "us", "plain, a metric")
        for size, found in timed.items()
    ]
    aimed = timed[AIMED]
    limit = aimed.plain / AIM / MICRO
    what = f"{AIMED[1]:,} x {AIMED[0]} points"
    figures.append(Figure(NAME, what, aimed.ours / MICRO, limit, "us", f"1/{AIM} of plain"))
    return [*figures, *_growth(timed), *_memory()]


def _told(points: int, count: int, found: Timed) -> str:
    rate = 1 / found.ours
    return f"{count:,} x {points:,} points: {rate:,.0f} a second, {found.plain / found.ours:.1f} x plain"


def _growth(timed: dict[tuple[int, int], Timed]) -> list[Figure]:
    few, many = timed[60, 100].ours, timed[1440, 100].ours
    more, most = timed[60, 1000].ours * 1000, timed[60, 10_000].ours * 10_000
    points = Figure(
        NAME, "24 times the points, 100 metrics", many / few, 24 * log2(1440) / log2(60), "times", "n log n"
    )
    return [points, Figure(NAME, "10 times the metrics, 60 points", most / more, 10, "times", "linear")]


def _memory() -> list[Figure]:
    """The most that is held beside the pairs, of ten times as many metrics."""
    figures = []
    for points, count in ((60, 1000), (1440, 100)):
        few, many = _peak(points, count), _peak(points, 10 * count)
        what = f"{10 * count:,} x {points:,} points: peak memory"
        figures.append(Figure(NAME, what, many / MIB, 10 * few / MIB, "MiB", f"10 times {count:,}'s"))
    return figures


def _peak(points: int, count: int) -> int:
    config, pairs = _metrics(points, count)
    tracemalloc.start()
    judge_kayenta(config, pairs, Thresholds(), seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _timed(points: int, count: int) -> Timed:
    """Both in turn; every label that the plain loop finds must be ours too."""
    config, pairs = _metrics(points, count)
    ours, plain = [], []
    for _ in range(REPEATS):
        began = time.process_time()
        judgement = judge_kayenta(config, pairs, Thresholds(), seed=0)
        ours.append((time.process_time() - began) / count)
        sample = min(count, PLAIN[points])
        began = time.process_time()
        found = [
            classify_plainly(metric, pair.control, pair.experiment)
            for metric, pair in islice(zip(config.metrics, pairs, strict=True), sample)
        ]
        plain.append((time.process_time() - began) / sample)
        labels = [str(result.classification) for result in judgement.results[:sample]]
        assert labels == [one.label for one in found], (points, count)
    return Timed(median(ours), median(plain))


def _metrics(points: int, count: int) -> tuple[CanaryConfig, list[MetricPair]]:
    """Latencies, requests, rare errors and latencies with gaps in turn; every fifth candidate is worse."""
    generator = np.random.default_rng(points)
    metrics = tuple(MetricConfig(f"m{number}", groups=("g",)) for number in range(count))
    pairs = [
        MetricPair(
            metric.name, _series(number, points, 1.0, generator), _series(number, points, worse, generator)
        )
        for number, (metric, worse) in enumerate(zip(metrics, cycle((1.0, 1.0, 1.0, 1.0, 1.3)), strict=False))
    ]
    return CanaryConfig("bench", metrics), pairs


def _series(number: int, points: int, worse: float, generator: np.random.Generator) -> Values:
    match number % 4:
        case 0:
            return generator.lognormal(3, 0.5, points) * worse
        case 1:
            return generator.poisson(50 * worse, points).astype(np.float64)
        case 2:
            return generator.poisson(0.1 * worse, points).astype(np.float64)
    found = generator.lognormal(3, 0.5, points) * worse
    found[generator.random(points) < GAPS] = np.nan
    return found
