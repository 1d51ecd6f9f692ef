"""The rules that are compared: how much each has against a candidate at each of its looks.

A rule gives a score by metric, release and look, and takes the candidate back at the first look at which
a score reaches its limit. Limits are as the rule is used, or such that it takes back as many good
candidates as stated, which is found out on other releases of good ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from tasks.domain.canary import CanaryConfig, Direction, MetricConfig, Thresholds
from tasks.domain.pairs import MetricPair
from tasks.judge.judgement import Classification
from tasks.judge.kayenta import judge_kayenta
from tasks.judge.quantiles import QuantileTest
from tasks.judge.sequential import Array, CountTest
from tests.benchmarks.simulator_traffic import BOUNDS, MINUTES, TICK, TICKS, Traffic

METRICS = ("errors", "latency")
Q = 0.95
"""The quantile that is judged."""
MINUTE = 60 // TICK
"""Ticks."""
CONFIG = CanaryConfig(
    "simulated",
    tuple(MetricConfig(name, groups=("all",), direction=Direction.INCREASE) for name in METRICS),
    group_weights={"all": 100.0},
)
SETTLED = 10
"""Minutes that Kayenta's judge is given where it looks every minute: with fewer points chance alone makes it alarm."""
Scores = Mapping[str, Array]
"""By metric, shape (releases, looks)."""


@dataclass(frozen=True)
class Rule:
    """One way to decide.

    Attributes:
        family: Rules of one family have the same scores, which are reckoned once.
        looks: The ticks after which it looks.
        limits: By metric, the score that takes the candidate back.
    """

    name: str
    family: str
    looks: tuple[int, ...]
    limits: Mapping[str, float]

    def calibrated(self, scores: Scores, error_probability: float) -> Rule:
        """The same with limits that good candidates reach as often as stated, half of it by each metric."""
        limits = {}
        for metric, values in scores.items():
            highest = np.sort(self.seen(values).max(axis=1))[::-1]
            limits[metric] = float(np.nextafter(highest[int(error_probability / 2 * len(highest))], inf))
        return replace(self, name=f"{self.name}, calibrated", limits=limits)

    def seen(self, values: Array) -> Array:
        """The columns of its looks; scores are by minute or by tick."""
        per_look = TICKS // values.shape[1]
        return values[:, [look // per_look - 1 for look in self.looks]]

    def taken_back(self, scores: Scores) -> Array:
        """The tick after which each candidate is taken back; infinite where it never is."""
        reached = np.any(
            [self.seen(values) >= self.limits[metric] for metric, values in scores.items()], axis=0
        )
        return np.where(reached.any(axis=1), np.array(self.looks)[reached.argmax(axis=1)], inf)


def every(minutes: float, first: float = 0) -> tuple[int, ...]:
    """Looks so many minutes apart, from *first* minutes on."""
    step = int(minutes * MINUTE)
    return tuple(look for look in range(step, TICKS + 1, step) if look >= first * MINUTE)


def davy(
    ratio: float = 0.0, floor: float = 0.0, dispersion: float | None = None
) -> Callable[[Traffic], Scores]:
    """Evidence of the sequential tests, after each tick; *floor* is one of error rates."""

    def scores(traffic: Traffic) -> Scores:
        whole = np.ones(traffic.requests.shape[1])
        counts = CountTest(ratio * whole, floor * whole, dispersion)
        quantiles = QuantileTest(Q * whole, ratio * whole, 0 * whole, BOUNDS)
        found: dict[str, list[Array]] = {metric: [] for metric in METRICS}
        for tick in range(TICKS):
            (requests, others), (errors, other_errors) = (
                traffic.requests[..., tick],
                traffic.errors[..., tick],
            )
            counts.update(requests, errors, others, other_errors)
            quantiles.update(*traffic.latencies[:, :, tick])
            found["errors"].append(counts.log_worse)
            found["latency"].append(quantiles.log_worse)
        return {metric: np.stack(found[metric], axis=1) for metric in traffic.scenario.metrics}

    return scores


def kayenta(traffic: Traffic) -> Scores:
    """The effect size (mean ratio) where Kayenta's judge says High, else 0; of all minutes so far, after each.

    What is bad is judged only at the full hours once it is High from `SETTLED` on, to save time.
    """
    found = {}
    for metric in traffic.scenario.metrics:
        sides = by_minute(traffic)[metric]
        scores = found[metric] = np.zeros(sides.shape[1:])
        for minute in range(1, MINUTES + 1):
            high = (scores[:, SETTLED - 1 :] > 0).any(axis=1) & (not traffic.scenario.good)
            [judged] = np.nonzero(~high | (minute % 60 == 0))
            pairs = [MetricPair(metric, sides[1, one, :minute], sides[0, one, :minute]) for one in judged]
            results = judge_kayenta(CONFIG, pairs, Thresholds()).results
            scores[judged, minute - 1] = [
                (result.ratio or inf) if result.classification is Classification.HIGH else 0.0
                for result in results
            ]
    return found


def failed_checks(window: int, failures: int) -> Callable[[Traffic], Scores]:
    """The highest limit that so many checks, of *window* minutes each, have reached by then."""

    def scores(traffic: Traffic) -> Scores:
        found = {}
        for metric in traffic.scenario.metrics:
            series = by_minute(traffic, window)[metric][0]
            sized = [
                np.sort(series[:, :looks], axis=1)[:, -failures:][:, 0]
                for looks in range(failures, series.shape[1] + 1)
            ]
            found[metric] = np.stack([np.zeros(len(series))] * (failures - 1) + sized, axis=1)
        return found

    return scores


def by_minute(traffic: Traffic, window: int = 1) -> dict[str, Array]:
    """Error rate and the quantile in ms (spread evenly in its bucket), shape (sides, releases, windows)."""
    windows = TICKS // (window * MINUTE)
    requests, errors, latencies = (
        counts.reshape(*counts.shape[:2], windows, window * MINUTE, *counts.shape[3:]).sum(axis=3)
        for counts in (traffic.requests, traffic.errors, traffic.latencies)
    )
    return {"errors": errors / np.maximum(requests, 1), "latency": quantile(latencies)}


def quantile(counts: Array) -> Array:
    """As `histogram_quantile` of Prometheus finds it, for many histograms at once."""
    rank = Q * counts[..., -1:]
    at = np.minimum((counts < rank).sum(axis=-1, keepdims=True), len(BOUNDS) - 2)
    padded, bounds = np.insert(counts, 0, 0.0, axis=-1), np.append(0.0, BOUNDS)
    below, within = (np.take_along_axis(padded, place, axis=-1) for place in (at, at + 1))
    part = np.clip((rank - below) / np.maximum(within - below, 1.0), 0.0, 1.0)
    return (bounds[at] + part * (bounds[at + 1] - bounds[at]))[..., 0]
