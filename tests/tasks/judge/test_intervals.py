"""Several judgements of one canary: which windows they look at, and what their scores amount to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.canary import CanaryConfig, MetricConfig
from tasks.domain.errors import InputError
from tasks.judge.intervals import FEWEST_POINTS, Schedule, Window, few_points, final_score, in_order, stops
from tasks.judge.judgement import Classification, Judgement, MetricResult, Score, Stats

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def told(schedule: Schedule) -> list[tuple[float, float]]:
    """Minutes from the start, by window."""
    return [
        ((window.experiment.start - NOW) / MINUTE, (window.experiment.end - NOW) / MINUTE)
        for window in schedule.windows()
    ]


def test_windows_grow_from_the_start_and_what_remains_is_not_judged() -> None:
    schedule = Schedule(NOW, lifetime=200 * MINUTE, interval=60 * MINUTE, begin_after=15 * MINUTE)
    assert told(schedule) == [(15, 75), (15, 135), (15, 195)]
    assert [window.number for window in schedule.windows()] == [1, 2, 3]
    steps = [step if isinstance(step, timedelta) else step.number for step in schedule.steps()]
    assert steps == [15 * MINUTE, 60 * MINUTE, 1, 60 * MINUTE, 2, 60 * MINUTE, 3]


def test_with_an_end_nothing_moves_and_only_the_first_wait_is_kept() -> None:
    end = NOW + 120 * MINUTE
    schedule = Schedule(NOW, end, interval=60 * MINUTE, begin_after=15 * MINUTE)
    assert told(schedule) == [(0, 60), (0, 120)]
    kinds = [isinstance(step, Window) for step in schedule.steps()]
    assert kinds == [False, True, True]


def test_a_lookback_moves_the_windows_start_and_an_offset_the_control() -> None:
    schedule = Schedule(
        NOW, lifetime=120 * MINUTE, interval=60 * MINUTE, lookback=10 * MINUTE, control_offset=1440 * MINUTE
    )
    assert told(schedule) == [(50, 60), (110, 120)]
    for window in schedule.windows():
        assert window.experiment.start - window.control.start == timedelta(days=1)
        assert window.experiment.end - window.control.end == timedelta(days=1)


@pytest.mark.parametrize("interval", [None, timedelta(0), 61 * MINUTE, 60 * MINUTE])
def test_without_an_interval_that_fits_there_is_one_judgement(interval: timedelta | None) -> None:
    assert told(Schedule(NOW, lifetime=60 * MINUTE, interval=interval)) == [(0, 60)]


@given(
    st.integers(1, 600),
    st.one_of(st.none(), st.integers(0, 700)),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_windows_end_one_interval_apart_and_never_after_the_lifetime(
    lifetime: int, interval: int | None, begin_after: int, lookback: int
) -> None:
    given_interval = None if interval is None else interval * MINUTE
    schedule = Schedule(NOW, None, lifetime * MINUTE, given_interval, begin_after * MINUTE, lookback * MINUTE)
    found = told(schedule)
    ends = [end - begin_after for _, end in found]
    every = interval if interval and interval <= lifetime else lifetime
    assert ends == [every * number for number in range(1, len(found) + 1)]
    assert ends[-1] <= lifetime < ends[-1] + every


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule(NOW), "lifetime: found None, expected a lifetime or an end"),
        (Schedule(NOW, lifetime=timedelta(0)), "lifetime: found '0:00:00', expected time to judge in"),
        (Schedule(NOW, NOW - MINUTE), "end: found '-1 day, 23:59:00', expected time to judge in"),
    ],
)
def test_a_schedule_without_time_is_refused(schedule: Schedule, said: str) -> None:
    with pytest.raises(InputError) as refused:
        schedule.windows()
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("scores", "passing", "marginal", "verdict"),
    [
        ([], 95, 75, Score.FAIL),
        ([10], None, None, Score.PASS),
        ([10, 96], 95, 75, Score.PASS),
        ([96, 10], 95, 75, Score.FAIL),
        ([95], 95, 75, Score.PASS),
        ([90], 95, 75, Score.FAIL),
        ([90], None, 75, Score.PASS),
        ([75], None, 75, Score.FAIL),
    ],
)
def test_the_last_score_alone_decides(
    scores: list[float], passing: float | None, marginal: float | None, verdict: Score
) -> None:
    assert final_score(scores, passing, marginal) is verdict


def test_a_score_that_only_meets_marginal_ends_it() -> None:
    assert stops(75, 75)
    assert not stops(75.01, 75)
    assert not stops(0, None)


def test_runs_are_ordered_by_number() -> None:
    assert in_order(["run #10", "run #9", "run #1"]) == ["run #1", "run #9", "run #10"]


def test_few_points_of_the_control_are_told() -> None:
    counts = {"enough": FEWEST_POINTS, "few": FEWEST_POINTS - 1, "fewer": 3}
    results = tuple(
        MetricResult(name, name, Classification.PASS, control=Stats(count=count))
        for name, count in counts.items()
    )
    judgement = Judgement("kayenta", 100, Score.PASS, "", results=results)
    config = CanaryConfig("c", tuple(MetricConfig(name) for name in counts))
    said = "control points: found 'few 49, fewer 3', expected at least 50 of each metric"
    assert few_points(config, judgement) == [said]
    datadog = CanaryConfig("c", tuple(MetricConfig(name, {"type": "datadog"}) for name in counts))
    assert few_points(datadog, judgement) == []
