"""Counts as curves and distributions: the same numbers that the judge sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.domain.analysis import Limit
from tasks.report.series import POINTS, Role, counts_of, curves_of, join, spread_of, values_of
from tests.tasks.report.told import frame_of_counts, judged

ROLES = {"candidate": Role.NEW, "green": Role.NEW, "baseline": Role.BASELINE, "blue": Role.OLD}


def test_metrics_of_each_interval() -> None:
    counts = counts_of(frame_of_counts({"candidate": [(50, 1), (0, 0), (20, 5)]}), ["candidate"])
    assert values_of(counts, "error_rate").tolist() == pytest.approx([2.0, np.nan, 25.0], nan_ok=True)
    assert values_of(counts, "request_rate").tolist() == pytest.approx([np.nan, 0.0, 20.0], nan_ok=True)


@pytest.mark.parametrize("name", ["error_rate", "latency_p50", "latency_p90", "latency_p95", "latency_p99"])
def test_an_interval_has_the_value_that_the_judge_finds(name: str) -> None:
    frame = frame_of_counts({"candidate": [(50, 1)]}, latency={"candidate": 250.0})
    verdict = judged(frame, **{name: Limit(max=1000)})
    (value,) = values_of(counts_of(frame, ["candidate"]), name)
    assert value == verdict.findings[0].value


def test_a_sample_that_is_missing_is_missing() -> None:
    frame = frame_of_counts({"candidate": [(50, 1), (50, 2)]})
    frame.iloc[1] = np.nan
    counts = counts_of(frame, ["candidate"])
    for name in ("error_rate", "latency_p99", "request_rate"):
        assert np.isnan(values_of(counts, name)[1])


def test_slots_of_one_role_are_counted_together() -> None:
    frame = frame_of_counts({"candidate": [(50, 1)], "green": [(150, 3)], "blue": [(10, 0)]})
    counts = join([frame], ROLES)
    assert counts[Role.NEW]["requests"].tolist() == [200]
    assert counts[Role.OLD]["requests"].tolist() == [10]
    assert Role.BASELINE not in counts


def test_overlapping_frames_count_each_moment_once() -> None:
    whole = frame_of_counts({"candidate": [(10, 0)] * 6, "blue": [(30, 0)] * 6})
    recent = frame_of_counts({"candidate": [(10, 0)] * 6}, after=3)
    counts = join([whole, recent, whole], ROLES)
    assert counts[Role.NEW]["requests"].sum() == 90
    assert counts[Role.NEW].index.is_monotonic_increasing
    assert counts[Role.OLD]["requests"].sum() == 180


def test_a_gap_is_not_drawn_over() -> None:
    frames = [frame_of_counts({"candidate": [(10, 0)] * 3}, after=after) for after in (0, 20)]
    curve = curves_of(join(frames, ROLES), "error_rate")[Role.NEW]
    assert np.isnan(curve.values).sum() == 1
    assert len(curve.values) == 7


def test_a_long_curve_is_drawn_from_few_points_that_keep_the_mean() -> None:
    frame = frame_of_counts({"candidate": [(100, number % 2) for number in range(3600)]})
    curve = curves_of(join([frame], ROLES), "error_rate")[Role.NEW]
    assert POINTS / 2 < len(curve.values) <= POINTS + 2
    assert np.nanmean(curve.values) == pytest.approx(0.5, abs=0.05)
    assert curve.times[-1] == frame.index[-1]


def test_a_rate_is_the_same_however_many_points_are_put_together() -> None:
    for rows in (10, 600):
        frame = frame_of_counts({"candidate": [(40, 0)] * rows})
        curve = curves_of(join([frame], ROLES), "request_rate")[Role.NEW]
        assert np.allclose(curve.values, 40)


def test_a_distribution_is_in_percent_of_its_own_requests() -> None:
    spread = spread_of(counts_of(frame_of_counts({"candidate": [(50, 1)] * 3}), ["candidate"]))
    assert spread is not None
    assert spread.percent.sum() == pytest.approx(100)
    assert spread.percent[list(spread.bounds).index(10.0)] == pytest.approx(100)


def test_nothing_recorded_gives_nothing() -> None:
    assert counts_of(pd.DataFrame(), ["candidate"]).empty
    assert curves_of({}, "error_rate") == {}
    assert spread_of(counts_of(frame_of_counts({"candidate": [(0, 0)]}), ["candidate"])) is None
