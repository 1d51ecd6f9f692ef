"""guard-step: one step of the sequential tests for many series, after short and very long histories.

A step takes in one interval's counts and asks for all evidence, of error rates and of latencies.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from tasks.judge.quantiles import QuantileTest
from tasks.judge.sequential import Array, CountTest
from tests.benchmarks.figure import Figure, percentile_99

SERIES = 100
BOUNDS = np.append(np.geomspace(1, 5000, 19), np.inf)
HISTORIES = (10, 10_000, 1_000_000)
"""Steps that have gone before."""
STEPS = 500
LIMIT = 1.0
"""Milliseconds."""
REQUESTS = 50


def measure() -> list[Figure]:
    """Median and 99th percentile by test and history."""
    figures = []
    for history in HISTORIES:
        for test, taken in steps_after(history).items():
            for what, value in (("median", median(taken)), ("p99", percentile_99(taken))):
                name = f"{SERIES} {test}, after {history:,} steps, {what}"
                figures.append(Figure("guard-step", name, value, LIMIT, "ms", "a step"))
    return figures


def steps_after(history: int) -> dict[str, list[float]]:
    """Milliseconds of processor time (others may share the machine) of each step after *history* others at once."""
    random, all_alike = np.random.default_rng(1), np.full(SERIES, 1.0)
    counts = CountTest(0.2 * all_alike, 0.005 * all_alike)
    quantiles = QuantileTest(0.99 * all_alike, 0.2 * all_alike, 10 * all_alike, BOUNDS)
    rates, latencies = "error rates", f"latencies in {len(BOUNDS)} buckets"
    taken: dict[str, list[float]] = {rates: [], latencies: []}
    for factor in [history, *[1] * STEPS]:
        errors, slow = interval(random, factor)
        requests = factor * REQUESTS * all_alike
        taken[rates].append(timed(counts, requests, errors[0], requests, errors[1]))
        taken[latencies].append(timed(quantiles, *slow))
    return {test: times[1:] for test, times in taken.items()}


def timed(test: CountTest | QuantileTest, *increments: Array) -> float:
    """One step."""
    began = time.thread_time()
    test.update(*increments)
    evidence = test.log_worse, test.log_equivalent
    taken = (time.thread_time() - began) * 1000
    assert np.isfinite(evidence).all()
    return taken


def interval(random: np.random.Generator, factor: int) -> tuple[Array, Array]:
    """Errors and bucket counts of both sides, *factor* intervals in one."""
    errors = random.binomial(factor * REQUESTS, 0.01, size=(2, SERIES)).astype(float)
    parts = random.multinomial(factor * REQUESTS, np.full(len(BOUNDS), 1 / len(BOUNDS)), size=(2, SERIES))
    return errors, np.cumsum(parts, axis=-1).astype(float)
