"""Judging again, point by point: when a bad version is found, and what counts as wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from deployments.backtest import PREFIXES, first_failure, replay
from deployments.backtest_cases import Case, Known, Paired
from deployments.backtest_judges import Judge
from deployments.backtest_scores import Delay, Rate, Score
from tasks.domain.model import Result
from tasks.domain.pairs import MetricPair

STEP = timedelta(seconds=30)


def case(*lengths: int, began: int = 0) -> Case:
    """A bad release of stages with so many points."""
    stages = [
        Paired((MetricPair("x", np.zeros(length), np.arange(length) + 100.0 * number),), STEP)
        for number, length in enumerate(lengths)
    ]
    return Case("x", Known.BAD, tuple(stages), began)


def fails_at(value: float) -> Judge:
    """A judge that fails as soon as it sees *value*."""
    return asking(lambda share: Result.FAIL if value in share.pairs[0].experiment else Result.PASS)


def asking(verdict: Callable[[Paired], Result]) -> Judge:
    return Judge("x", Paired, verdict)


@pytest.mark.parametrize(
    ("value", "began", "points"), [(0, 0, 1), (9, 0, 10), (9, 4, 6), (103, 0, 24), (9, 10, 0)]
)
def test_delay_counts_from_the_regression_over_all_shares(value: float, began: int, points: int) -> None:
    found = first_failure(case(20, 20).stages, fails_at(value), began)
    assert found == Delay(points, points * STEP)


def test_a_failure_before_the_regression_is_no_detection() -> None:
    found = replay(case(20, began=15), fails_at(9))
    assert found is not None
    assert found.alarm
    assert found.delay is None


def test_a_good_version_that_fails_only_for_a_moment_is_a_false_alarm_and_no_false_fail() -> None:
    def judge(stage: Paired) -> Result:
        return Result.FAIL if stage.points == 7 else Result.PASS

    found = replay(replace(case(20), known=Known.GOOD), asking(judge))
    assert found is not None
    assert found.alarm
    score = Score("x", (found,), ())
    assert (score.false_alarm.count, score.false_fail.count) == (1, 0)


def test_what_never_fails_is_never_found() -> None:
    assert first_failure(case(20).stages, fails_at(-1)) is None


def test_a_long_share_is_looked_at_a_bounded_number_of_times() -> None:
    looks = []

    def judge(stage: Paired) -> Result:
        looks.append(stage.points)
        return Result.PASS

    first_failure(case(10_000).stages, asking(judge))
    assert len(looks) <= 2 * PREFIXES
    assert looks[-1] == 10_000


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)]
)
def test_intervals_are_wilsons(count: int, of: int, low: float, high: float) -> None:
    assert Rate(count, of).interval == pytest.approx((low, high), abs=1e-4)


def test_a_rate_of_nothing_is_unknown() -> None:
    rate = Rate(0, 0)
    assert (rate.value, rate.interval, str(rate)) == (None, (0.0, 1.0), "-")
