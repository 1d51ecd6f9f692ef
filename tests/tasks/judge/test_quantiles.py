"""Tests of latency quantiles under any number of looks, by simulation with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from tasks.domain.errors import InputError
from tasks.judge.quantiles import QuantileTest
from tasks.judge.sequential import Array, threshold

PATHS = 2000
LOOKS = 120
ERROR = 0.05
PROOF = threshold(ERROR)
BOUNDS = np.array([25, 50, 75, 100, 150, 200, 300, 400, 600, 1000, np.inf])

Shares = Callable[[int], Array]


def at_most(*parts: float) -> Array:
    """Chance of a latency at most at each of the first bounds; the rest lies just above them."""
    return np.array([*parts, *[1.0] * (len(BOUNDS) - len(parts))])


def lognormal(median: float, *, scale: float = 1.0) -> Array:
    """Latencies with a heavy tail: the 99th percentile is four times the median."""
    normal = NormalDist(np.log(median * scale), np.log(4) / NormalDist().inv_cdf(0.99))
    return np.array([normal.cdf(np.log(bound)) if np.isfinite(bound) else 1.0 for bound in BOUNDS])


def a_test(paths: int, q: float, *, ratio: float = 0.0, floor: float = 0.0) -> QuantileTest:
    """The same comparison on all paths."""
    return QuantileTest(np.full(paths, q), np.full(paths, ratio), np.full(paths, floor), BOUNDS)


class Traffic:
    """Bucket counts of both arms, drawn anew for each look."""

    def __init__(
        self, candidate: Array | Shares, other: Array | Shares, *, requests: tuple[int, int] = (50, 50)
    ) -> None:
        self._arms, self._requests = (candidate, other), requests
        self._random = np.random.default_rng(13)

    def draw(self, look: int, paths: int) -> list[Array]:
        """One interval's increments, cumulative over the bounds."""
        requests = self.requests(look)
        parts = [np.diff(arm(look) if callable(arm) else arm, prepend=0.0) for arm in self._arms]
        return [
            np.cumsum(self._random.multinomial(count, part, size=paths), axis=-1).astype(float)
            for count, part in zip(requests, parts, strict=True)
        ]

    def requests(self, _: int) -> tuple[int, int]:
        """Of candidate and other in one interval."""
        return self._requests


def watch(
    test: QuantileTest, traffic: Traffic, *, looks: int = LOOKS, paths: int = PATHS
) -> tuple[Array, Array]:
    """By path, the first look after which the candidate is proven worse, and within; infinite where never."""
    worse, within = np.full(paths, np.inf), np.full(paths, np.inf)
    for look in range(looks):
        test.update(*traffic.draw(look, paths))
        worse = np.minimum(worse, np.where(test.log_worse >= PROOF, look, np.inf))
        within = np.minimum(within, np.where(test.log_equivalent >= PROOF, look, np.inf))
    return worse, within


def part(looks: Array) -> float:
    """Of all paths, those on which it was ever proven."""
    return float(np.isfinite(looks).mean())


def test_an_equal_candidate_is_rarely_called_worse() -> None:
    same = lognormal(60)

    worse, _ = watch(a_test(PATHS, 0.9), Traffic(same, same))

    assert part(worse) <= ERROR


def test_a_candidate_at_the_edge_of_tolerance_is_rarely_called_worse_or_within() -> None:
    """Tolerated are 150 ms. The quantiles lie exactly there and at 100 ms, or a hair above."""
    other = at_most(0.2, 0.5, 0.7, 0.9)
    at_edge, above = (at_most(0.2, 0.4, 0.5, 0.6, edge) for edge in (0.9, 0.8999))

    worse, _ = watch(a_test(PATHS, 0.9, ratio=0.5), Traffic(at_edge, other))
    _, within = watch(a_test(PATHS, 0.9, ratio=0.5), Traffic(above, other))

    assert part(worse) <= ERROR
    assert part(within) <= ERROR


class Growing(Traffic):
    """The candidate gets few requests at first, and most of them later."""

    def requests(self, look: int) -> tuple[int, int]:
        """Of candidate and other in one interval."""
        return (5, 95) if look < LOOKS / 2 else (95, 5)


def test_latencies_that_drift_together_while_shares_change_prove_nothing() -> None:
    """Later everything is twice as slow, and that is when the candidate gets its requests; or the other way round."""

    def drifting(before: float, after: float) -> Shares:
        return lambda look: lognormal(60, scale=before if look < LOOKS / 2 else after)

    slower, faster = drifting(1.0, 2.0), drifting(2.0, 1.0)

    def a_bucket_slower(look: int) -> Array:
        return np.append(np.append(0.0, faster(look)[:-2]), 1.0)

    worse, _ = watch(a_test(PATHS, 0.9), Growing(slower, slower))
    _, within = watch(a_test(PATHS, 0.9), Growing(a_bucket_slower, faster))

    assert part(worse) <= ERROR
    assert part(within) <= ERROR


def test_a_doubled_latency_is_found_also_long_after_the_start() -> None:
    usual, doubled = lognormal(60), lognormal(60, scale=2.0)

    at_once, _ = watch(a_test(200, 0.99), Traffic(doubled, usual), paths=200)
    later, _ = watch(
        a_test(200, 0.99),
        Traffic(lambda look: doubled if look >= 150 else usual, usual),
        paths=200,
        looks=200,
    )

    assert part(at_once) == part(later) == 1
    assert np.median(at_once) * 50 < 3000  # requests
    assert (later < 150).mean() <= ERROR


def test_a_difference_that_no_bound_lies_in_is_never_claimed() -> None:
    """110 ms and 140 ms are in the same bucket."""
    other, candidate = at_most(0.2, 0.5, 0.8, 0.85, 0.99), at_most(0.1, 0.3, 0.6, 0.7, 0.92)

    worse, within = watch(a_test(100, 0.9), Traffic(candidate, other), paths=100)

    assert part(worse) == part(within) == 0


def test_only_the_quantile_asked_for_counts() -> None:
    """The median doubles, the 99th percentile stays."""
    other, candidate = at_most(0.1, 0.6, 0.9, 0.98, 0.999), at_most(0.0, 0.1, 0.4, 0.98, 0.999)

    median, _ = watch(a_test(100, 0.5), Traffic(candidate, other), paths=100)
    tail, _ = watch(a_test(100, 0.99), Traffic(candidate, other), paths=100)

    assert part(median) == 1
    assert part(tail) <= ERROR


@pytest.mark.parametrize(("ratio", "floor"), [(1.0, 0.0), (0.0, 120.0)])
def test_what_is_tolerated_is_not_called_worse_but_proven_within(ratio: float, floor: float) -> None:
    """The 90th percentile is 60 ms and becomes 90 ms; 120 ms are tolerated, and 100 ms is a bound."""
    other, candidate = at_most(0.1, 0.6, 0.97), at_most(0.0, 0.3, 0.7, 0.97)

    worse, within = watch(a_test(200, 0.9, ratio=ratio, floor=floor), Traffic(candidate, other), paths=200)
    strict, _ = watch(a_test(200, 0.9), Traffic(candidate, other), paths=200)

    assert part(worse) <= ERROR
    assert part(within) == part(strict) == 1


def test_bursts_of_slow_requests_are_learnt_and_most_false_alarms_avoided() -> None:
    """Pauses make up to 10 requests of one side slow together, about as many as the quantile leaves room for."""
    random, paths = np.random.default_rng(2), 500

    def arm() -> Array:
        slow = np.minimum(random.poisson(0.05 * 150 / 5.5, paths) * random.integers(1, 11, paths), 150)
        return np.where(np.isinf(BOUNDS), 150, np.where(BOUNDS < 100, 75, 150 - slow[:, None]))

    tests = [
        QuantileTest(np.full(paths, 0.95), np.zeros(paths), np.zeros(paths), BOUNDS, dispersion=dispersion)
        for dispersion in (None, 1.0)
    ]
    worse = np.zeros((2, paths), dtype=bool)
    for _ in range(LOOKS):
        counts = arm(), arm()
        for place, test in enumerate(tests):
            test.update(*counts)
            worse[place] |= test.log_worse >= PROOF
    learnt, ignored = worse.mean(axis=1)

    assert ignored > 3 * ERROR
    assert learnt < ignored / 3
    assert np.median(tests[0].dispersion) > 4


def test_bounds_hold_the_true_quantiles_at_every_look_and_close_in_on_them() -> None:
    usual, doubled, missed = lognormal(60), lognormal(60, scale=2.0), np.zeros(PATHS, dtype=bool)
    test, traffic = a_test(PATHS, 0.9), Traffic(doubled, usual)
    true = [
        60 * scale * 4 ** (NormalDist().inv_cdf(0.9) / NormalDist().inv_cdf(0.99)) for scale in (2.0, 1.0)
    ]

    for look in range(60):
        test.update(*traffic.draw(look, PATHS))
        for found, quantile in zip(test.bounds(ERROR / 2), true, strict=True):
            missed |= (found.lower >= quantile) | (found.upper < quantile)

    assert missed.mean() <= ERROR
    candidate, other = test.bounds(ERROR)
    assert (np.median(other.lower), np.median(other.upper)) == (100, 150)
    assert (np.median(candidate.lower), np.median(candidate.upper)) == (200, 300)


def test_nothing_is_known_before_there_are_requests() -> None:
    test = a_test(2, 0.99)
    test.update(np.zeros((2, len(BOUNDS))), np.zeros((2, len(BOUNDS))))

    candidate, other = test.bounds(ERROR)

    assert (test.log_worse < PROOF).all()
    assert (test.log_equivalent < PROOF).all()
    assert not np.any([candidate.lower, other.lower])
    assert np.isinf([candidate.upper, other.upper]).all()


def test_intervals_may_come_together_and_those_without_a_sample_say_nothing() -> None:
    traffic = Traffic(lognormal(60, scale=2.0), lognormal(60))
    rows = [np.array(arm) for arm in zip(*(traffic.draw(look, 3) for look in range(20)), strict=True)]
    together, single = a_test(3, 0.9), a_test(3, 0.9)

    together.update(*rows)
    for candidate, other in zip(*rows, strict=True):
        single.update(candidate, other)
        single.update(np.full_like(candidate, np.nan), other)
        single.update(candidate, np.where(BOUNDS == 150, np.nan, other))

    np.testing.assert_array_equal(together.log_worse, single.log_worse)
    np.testing.assert_array_equal(together.log_equivalent, single.log_equivalent)


def test_series_with_other_terms_are_judged_side_by_side() -> None:
    q, ratio, floor = np.array([0.5, 0.9, 0.9]), np.array([0.0, 0.0, 0.5]), np.array([0.0, 0.0, 10.0])
    together = QuantileTest(q, ratio, floor, BOUNDS)
    alone = [QuantileTest(*(values[[index]] for values in (q, ratio, floor)), BOUNDS) for index in range(3)]
    [candidate, other] = Traffic(lognormal(60, scale=2.0), lognormal(60)).draw(0, 1)

    together.update(np.tile(candidate, (3, 1)), np.tile(other, (3, 1)))
    for test in alone:
        test.update(candidate, other)

    np.testing.assert_allclose(together.log_worse, [test.log_worse[0] for test in alone])
    np.testing.assert_allclose(together.log_equivalent, [test.log_equivalent[0] for test in alone])


@pytest.mark.parametrize(
    ("q", "ratio", "floor", "bounds"),
    [
        (1.0, 0.0, 0.0, [1.0, np.inf]),
        (0.5, -0.1, 0.0, [1.0, np.inf]),
        (0.5, 0.0, -1.0, [1.0, np.inf]),
        (0.5, 0.0, 0.0, [1.0, 2.0]),
        (0.5, 0.0, 0.0, [2.0, 1.0, np.inf]),
    ],
)
def test_values_out_of_range_are_refused(q: float, ratio: float, floor: float, bounds: list[float]) -> None:
    with pytest.raises(InputError):
        QuantileTest(np.array([q]), np.array([ratio]), np.array([floor]), np.array(bounds))
