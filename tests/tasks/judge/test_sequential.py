"""Tests of error rates under any number of looks, by simulation with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tasks.domain.errors import InputError
from tasks.judge.sequential import Array, CountTest, threshold

PATHS = 2000
ERROR = 0.05
PROOF = threshold(ERROR)


Draw = Callable[[int], tuple[Array, ...]]
"""Gives one interval's increments: requests and errors of the candidate, then of the other."""


@dataclass(frozen=True)
class Looks:
    """When, per path, something was first proven; infinite where never."""

    worse: Array
    within: Array

    @property
    def worse_share(self) -> float:
        """Part of the paths on which the candidate was ever called worse."""
        return float(np.isfinite(self.worse).mean())

    @property
    def within_share(self) -> float:
        """Part of the paths on which it was ever called within tolerance."""
        return float(np.isfinite(self.within).mean())


def watch(
    draw: Draw,
    looks: int,
    *,
    ratio: float = 0.0,
    floor: float = 0.0,
    dispersion: float | None = None,
) -> Looks:
    """Look after every interval that *draw* gives, on all paths."""
    test = CountTest(np.full(PATHS, ratio), np.full(PATHS, floor), dispersion)
    worse, within = np.full(PATHS, np.inf), np.full(PATHS, np.inf)
    for look in range(looks):
        test.update(*(np.broadcast_to(counts, PATHS) for counts in draw(look)))
        worse = np.minimum(worse, np.where(test.log_worse >= PROOF, look, np.inf))
        within = np.minimum(within, np.where(test.log_equivalent >= PROOF, look, np.inf))
    return Looks(worse, within)


Rates = Callable[[int], float]


def binomial(
    requests: int, other_requests: int, rate: Rates, other_rate: Rates
) -> Callable[[int], tuple[Array, ...]]:
    """Each request errs by itself."""
    random = np.random.default_rng(7)

    def draw(look: int) -> tuple[Array, ...]:
        return (
            np.float64(requests),
            random.binomial(requests, rate(look), PATHS),
            np.float64(other_requests),
            random.binomial(other_requests, other_rate(look), PATHS),
        )

    return draw


def always(rate: float) -> Rates:
    """The same rate at each look."""
    return lambda _: rate


@pytest.mark.parametrize(
    ("requests", "other_requests", "rate"), [(50, 50, 0.01), (5, 95, 0.01), (1, 1, 0.3), (200, 200, 0.0005)]
)
def test_an_equal_candidate_is_rarely_called_worse_however_often_one_looks(
    requests: int, other_requests: int, rate: float
) -> None:
    looks = watch(binomial(requests, other_requests, always(rate), always(rate)), 600)

    assert looks.worse_share <= ERROR


def test_rates_that_drift_together_while_shares_change_are_not_held_against_the_candidate() -> None:
    """The candidate gets most of its requests when the service is bad for everybody: pooled, it looks worse."""
    random = np.random.default_rng(11)
    pooled = np.zeros(4)

    def draw(look: int) -> tuple[Array, ...]:
        rate = 0.01 * (1 + 0.9 * np.sin(look / 500 * 2 * np.pi - np.pi / 2))
        requests = 2 if look % 500 < 150 else 50
        counts = (
            np.float64(requests),
            random.binomial(requests, rate, PATHS),
            np.float64(100 - requests),
            random.binomial(100 - requests, rate, PATHS),
        )
        pooled[:] += [np.mean(count) for count in counts]
        return counts

    looks = watch(draw, 400)

    assert pooled[1] / pooled[0] > 1.2 * pooled[3] / pooled[2]
    assert looks.worse_share <= ERROR


def test_a_candidate_at_the_edge_of_tolerance_is_rarely_called_worse_or_within() -> None:
    at_ratio = watch(binomial(50, 50, always(0.03), always(0.02)), 600, ratio=0.5, floor=0.001)
    at_floor = watch(binomial(50, 50, always(0.02), always(0.0005)), 600, ratio=0.5, floor=0.02)

    for looks in (at_ratio, at_floor):
        assert looks.worse_share <= ERROR
        assert looks.within_share <= ERROR


def test_no_errors_on_either_side_prove_nothing_but_that_the_candidate_keeps_below_a_floor() -> None:
    none = always(0.0)

    without, with_floor = (watch(binomial(50, 50, none, none), 200, floor=floor) for floor in (0.0, 0.01))

    assert without.worse_share == without.within_share == with_floor.worse_share == 0
    assert with_floor.within_share == 1


def test_errors_against_a_baseline_without_any_are_a_regression_once_they_exceed_the_floor() -> None:
    found = watch(binomial(50, 50, always(0.02), always(0.0)), 100)
    tolerated = watch(binomial(50, 50, always(0.02), always(0.0)), 100, floor=0.05)
    exceeded = watch(binomial(50, 50, always(0.02), always(0.0)), 100, floor=0.005)

    assert found.worse_share == exceeded.worse_share == 1
    assert tolerated.worse_share == 0
    assert tolerated.within_share == 1


def test_a_doubled_error_rate_is_found() -> None:
    looks = watch(binomial(50, 50, always(0.02), always(0.01)), 200)

    assert looks.worse_share > 0.99
    assert np.median(looks.worse) * 50 < 4000  # requests; 1750 would be what the true rates, known, need
    assert looks.within_share <= ERROR


def test_a_regression_long_after_the_start_is_found_soon() -> None:
    """By then 1000 errors have been counted that show nothing; sums alone would need 3000 looks."""
    looks = watch(
        binomial(50, 50, lambda look: 0.01 if look < 1000 else 0.02, always(0.01)), 1500, ratio=0.25
    )

    assert (looks.worse < 1000).mean() <= ERROR
    assert np.median(looks.worse) < 1500


def test_a_candidate_like_the_other_is_proven_to_be_within_tolerance() -> None:
    looks = watch(binomial(50, 50, always(0.01), always(0.01)), 400, ratio=1.0)

    assert looks.within_share > 0.99
    assert looks.worse_share <= ERROR


def in_bursts(most: int) -> Draw:
    """One cause makes up to so many requests of one side fail together."""
    random = np.random.default_rng(5)

    def draw(_: int) -> tuple[Array, ...]:
        errors = random.poisson(0.1, (2, PATHS)) * random.integers(1, most + 1, (2, PATHS))
        return np.float64(200), errors[0], np.float64(200), errors[1]

    return draw


def test_bursts_of_errors_are_no_evidence_where_their_size_is_told() -> None:
    assert watch(in_bursts(8), 500, dispersion=8.0).worse_share <= ERROR


def test_bursts_of_errors_are_learnt_and_most_false_alarms_avoided() -> None:
    learnt, ignored = (watch(in_bursts(5), 500, ratio=0.2, dispersion=how).worse_share for how in (None, 1.0))

    assert ignored > 3 * ERROR  # that there are none is assumed, and matters
    assert learnt < ignored / 2


def test_the_size_of_bursts_is_learnt_while_rates_differ_and_drift() -> None:
    random, rows = np.random.default_rng(9), 400
    requests, others = np.full((rows, 2), 1000.0), np.full((rows, 2), 5000.0)
    causes = 0.003 * (1 + 0.9 * np.sin(np.arange(rows) / 50))[:, None]
    alone = random.poisson(2 * causes * requests), random.poisson(causes * others)
    together = [
        random.poisson(causes[..., None] * count[..., None] / 5, (rows, 2, 5)) @ np.arange(1, 6)
        for count in (requests, others)
    ]
    tests = [CountTest(np.zeros(2), np.zeros(2)) for _ in range(2)]

    for test, (errors, other_errors) in zip(tests, (alone, together), strict=True):
        test.update(requests, errors, others, other_errors)

    np.testing.assert_allclose(tests[0].dispersion, 1.0, atol=0.25)
    np.testing.assert_allclose(tests[1].dispersion, 55 / 15, rtol=0.15)  # an error's mean burst


def test_within_tolerance_depends_on_sums_alone_while_requests_keep_their_proportion() -> None:
    random = np.random.default_rng(3)
    requests, ratio, floor = (
        np.array([[10.0, 90.0, 33.0]]),
        np.array([0.0, 0.5, 1.0]),
        np.array([0.0, 0.01, 0.06]),
    )
    errors, others = random.binomial(10, 0.1, (200, 3)), random.binomial(20, 0.05, (200, 3))
    parts, at_once, whole = (CountTest(ratio, floor, dispersion=1.0) for _ in range(3))

    for row, other in zip(errors, others, strict=True):
        parts.update(requests[0], row, 2 * requests[0], other)
    at_once.update(np.tile(requests, (200, 1)), errors, np.tile(2 * requests, (200, 1)), others)
    whole.update(200 * requests[0], errors.sum(axis=0), 400 * requests[0], others.sum(axis=0))

    np.testing.assert_allclose(parts.log_equivalent, whole.log_equivalent)
    np.testing.assert_array_equal(parts.log_equivalent, at_once.log_equivalent)
    np.testing.assert_array_equal(parts.log_worse, at_once.log_worse)


def test_intervals_without_a_sample_or_requests_say_nothing() -> None:
    test = CountTest(np.zeros(4), np.zeros(4))
    test.update(np.full(4, 100.0), np.full(4, 5.0), np.full(4, 100.0), np.full(4, 1.0))
    before = test.log_worse, test.log_equivalent

    requests, errors = np.array([np.nan, 0, 50, 0]), np.array([40, 0, 40, 3])
    test.update(requests, errors, np.array([50, 0, 0, 50]), np.array([0, 0, np.nan, 0]))

    np.testing.assert_array_equal((test.log_worse, test.log_equivalent), before)


def test_evidence_stays_a_number_however_long_and_clear_the_history_is() -> None:
    test = CountTest(np.zeros(2), np.full(2, 1e-4))

    for _ in range(50):
        test.update(np.full(2, 1e6), np.array([9e5, 1e3]), np.full(2, 1e6), np.array([1e3, 9e5]))

    assert np.isfinite([test.log_worse, test.log_equivalent]).all()
    assert test.log_worse[0] > PROOF > test.log_worse[1]
    assert test.log_equivalent[1] > PROOF > test.log_equivalent[0]


def test_more_comparisons_ask_for_more_evidence() -> None:
    assert threshold(0.05) == pytest.approx(np.log(20))
    assert threshold(0.05, comparisons=10) == pytest.approx(np.log(200))


@pytest.mark.parametrize(
    ("ratio", "floor", "dispersion"), [(-0.1, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 0.5)]
)
def test_values_out_of_range_are_refused(ratio: float, floor: float, dispersion: float) -> None:
    with pytest.raises(InputError):
        CountTest(np.array([ratio]), np.array([floor]), dispersion)
