"""What power promises is held against the tests themselves, with other seeds and many more looks."""

from __future__ import annotations

from functools import partial
from math import log
from statistics import NormalDist

import numpy as np
import pytest

from tasks.judge.power import (
    Proof,
    quantile_requests_needed,
    requests_needed,
    smallest_detectable_quantile,
    smallest_detectable_rate,
)
from tasks.judge.quantiles import QuantileTest
from tasks.judge.sequential import Array, CountTest, threshold

PROOF = threshold(0.05, comparisons=3)
PATHS = 1000
LOOKS = 100
ABOUT = pytest.approx(0.8, abs=0.08)
BOUNDS = np.array([10, 20, 30, 45, 70, 100, 150, 220, 330, 500, 750, 1000, 1500, np.inf])


def chances(scale: float) -> Array:
    """Chance of a latency at most at each bound when all take *scale* times as long; in a bucket, spread evenly."""
    known = np.append(0.0, BOUNDS[:-1])
    normal = NormalDist(log(40), 0.5)
    usual = [0.0, *(normal.cdf(log(bound)) for bound in BOUNDS[:-1])]
    return np.append(np.interp(BOUNDS[:-1] / scale, known, usual), 1.0)


COUNTS = np.round(1e6 * chances(1.0))


def usual_quantile(q: float) -> float:
    """Of the other's latencies, in ms."""
    return float(np.interp(q, chances(1.0)[:-1], BOUNDS[:-1]))


def power_of_rates(
    rates: tuple[float, float], requests: tuple[int, int], ratio: float, floor: float
) -> float:
    """How often a candidate is proven worse within so many requests."""
    test, random = CountTest(np.full(PATHS, ratio), np.full(PATHS, floor)), np.random.default_rng(99)
    proven = np.zeros(PATHS, dtype=bool)
    for _ in range(LOOKS):
        counts = [
            of
            for count, rate in zip(requests, rates, strict=True)
            for of in (np.full(PATHS, count / LOOKS), random.binomial(count // LOOKS, rate, PATHS))
        ]
        test.update(*counts)
        proven |= test.log_worse >= PROOF
    return float(proven.mean())


def power_of_quantiles(scale: float, requests: tuple[int, int], q: float, ratio: float) -> float:
    """How often a candidate that takes *scale* times as long is proven worse within so many requests."""
    test = QuantileTest(np.full(PATHS, q), np.full(PATHS, ratio), np.zeros(PATHS), BOUNDS)
    random, proven = np.random.default_rng(99), np.zeros(PATHS, dtype=bool)
    for _ in range(LOOKS // 4):
        parts = [np.diff(chances(factor), prepend=0.0) for factor in (scale, 1.0)]
        test.update(
            *(
                np.cumsum(random.multinomial(count // (LOOKS // 4), part, size=PATHS), axis=-1)
                for count, part in zip(requests, parts, strict=True)
            )
        )
        proven |= test.log_worse >= PROOF
    return float(proven.mean())


@pytest.mark.parametrize(
    ("other_rate", "requests", "other_requests", "ratio", "floor"),
    [(0.01, 4000, 4000, 0.0, 0.0), (0.01, 2000, 38000, 0.25, 0.001), (0.0, 1000, 1000, 0.25, 0.005)],
)
def test_the_smallest_detectable_rate_is_detected_as_often_as_promised(
    other_rate: float, requests: int, other_requests: int, ratio: float, floor: float
) -> None:
    rate = smallest_detectable_rate(other_rate, requests, other_requests, proof=Proof(ratio, floor, PROOF))

    assert rate
    assert rate > max((1 + ratio) * other_rate, floor)
    assert power_of_rates((rate, other_rate), (requests, other_requests), ratio, floor) == ABOUT


@pytest.mark.parametrize(("other_rate", "share_ratio"), [(0.01, 1.0), (0.01, 9.0), (0.0, 1.0)])
def test_the_requests_needed_suffice_as_often_as_promised(other_rate: float, share_ratio: float) -> None:
    needed = requests_needed(other_rate, 0.03, share_ratio, proof=Proof(0.25, 0.002, PROOF))

    assert needed
    requests = round(needed, -2), round(needed * share_ratio, -2)
    assert power_of_rates((0.03, other_rate), requests, 0.25, 0.002) == ABOUT


@pytest.mark.parametrize(("q", "ratio"), [(0.5, 0.0), (0.95, 0.2)])
def test_the_smallest_detectable_quantile_is_detected_as_often_as_promised(q: float, ratio: float) -> None:
    latency = smallest_detectable_quantile(BOUNDS, COUNTS, q, 2000, 4000, proof=Proof(ratio, 0.0, PROOF))

    usual = usual_quantile(q)
    assert latency
    assert latency > (1 + ratio) * usual
    assert power_of_quantiles(latency / usual, (2000, 4000), q, ratio) == ABOUT


def test_the_requests_needed_for_a_latency_suffice_as_often_as_promised() -> None:
    usual = usual_quantile(0.95)

    needed = quantile_requests_needed(BOUNDS, COUNTS, 0.95, 2 * usual, 1.0, proof=Proof(0.1, 0.0, PROOF))

    assert needed
    assert power_of_quantiles(2.0, (needed, needed), 0.95, 0.1) == ABOUT


def test_what_cannot_be_shown_is_said_to_be_so() -> None:
    ask_rate = partial(smallest_detectable_rate, proof=Proof(0.0, 0.0, PROOF))
    ask_requests = partial(requests_needed, share_ratio=1.0, proof=Proof(0.5, 0.01, PROOF))
    ask_latency = partial(smallest_detectable_quantile, proof=Proof(0.0, 0.0, PROOF))
    ask_for_latency = partial(quantile_requests_needed, proof=Proof(0.0, 0.0, PROOF))

    assert ask_rate(0.01, 3, 3) is None  # too few requests for anything
    assert ask_rate(0.01, 0, 0) is None
    assert ask_requests(0.02, 0.03) is None  # tolerated
    assert ask_requests(0.0, 0.01) is None  # below the floor
    assert ask_latency(BOUNDS, COUNTS, 0.5, 5, 5) is None
    assert (
        ask_latency(BOUNDS, np.append(np.zeros(len(BOUNDS) - 1), 9.0), 0.5, 9000, 9000) is None
    )  # above all bounds
    assert ask_latency(BOUNDS, np.zeros(len(BOUNDS)), 0.5, 9000, 9000) is None  # no requests so far
    assert ask_for_latency(BOUNDS, COUNTS, 0.5, 43.0, 1.0) is None  # 40 and 43 ms are in one bucket


def test_the_same_question_gets_the_same_answer() -> None:
    ask = partial(smallest_detectable_rate, 0.01, 2000, 2000, proof=Proof(0.1, 0.0, PROOF))

    assert ask() == ask()
