"""The judge `kayenta`: what its users know it for, and what they know it for wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from tasks.domain.canary import (
    CanaryConfig,
    Direction,
    EffectMeasure,
    EffectSize,
    MetricConfig,
    NanStrategy,
    OutlierStrategy,
    Thresholds,
)
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair
from tasks.judge.judgement import Classification, Judgement, MetricResult, Score
from tasks.judge.kayenta import judge_kayenta
from tests.rig.plain_judge import classify_plainly

Numbers = Sequence[float]
JUDGE = Thresholds(95, 75)


def pair(control: Numbers, experiment: Numbers, name: str = "m") -> MetricPair:
    return MetricPair(name, np.array(control, dtype=float), np.array(experiment, dtype=float))


def judge_one(control: Numbers, experiment: Numbers, *, seed: int = 0, **how: Any) -> MetricResult:  # noqa: ANN401 - as a metric has it
    metric = MetricConfig("m", groups=("g",), **how)
    found = judge_kayenta(CanaryConfig("c", (metric,)), [pair(control, experiment)], JUDGE, seed=seed)
    return found.results[0]


def test_the_interval_of_four_against_four_is_the_range_of_differences() -> None:
    found = judge_one([1, 2, 3, 4], [10, 20, 30, 40])
    assert found.interval
    assert (found.interval.lower, found.interval.estimate, found.interval.upper) == (6, 22.5, 39)
    assert found.interval.confidence == 0.98
    assert found.classification is Classification.HIGH
    assert found.reason == "m was classified as High"
    assert found.ratio == 10


def test_seven_spikes_of_ten_pass_and_eight_fail() -> None:
    """As spinnaker#6278 reports: the interval's lower end jumps from nothing to all at once."""
    effect = EffectSize(allowed_increase=1.05)
    seven = judge_one([1] * 10, [100] * 7 + [1] * 3, effect=effect)
    assert seven.classification is Classification.PASS
    assert seven.interval
    assert seven.interval.lower == pytest.approx(6.825022991538781e-05, abs=1e-15)
    assert seven.interval.estimate == pytest.approx(98.99992904170193, abs=1e-12)
    assert judge_one([1] * 10, [100] * 8 + [1] * 2, effect=effect).classification is Classification.HIGH


FAULTS: list[tuple[str, Numbers, Numbers]] = [
    ("tiny scale: the root is found to 1e-4", [*[1e-6, 1.1e-6] * 9, 2e-6], [*[1.4e-6, 1.5e-6] * 9, 5e-7]),
    ("negative: falls tenfold, and the ratio is 10", [-1, -1.1, -1.2] * 3, [-10, -11, -12] * 3),
    ("negative: rises, and the ratio is below 1", [-10, -11, -12] * 3, [-1, -1.1, -1.2] * 3),
    ("a mean that one outlier of the control lifts", [1] * 9 + [1000], [5] * 9 + [6]),
    ("an infinite value", [1, 2, 3, 4], [10, 20, inf, 40]),
    ("infinite values on both sides", [1, 2, inf, -inf], [10, 20, inf, 40]),
]


@pytest.mark.parametrize(
    ("control", "experiment"), [one[1:] for one in FAULTS], ids=[one[0] for one in FAULTS]
)
def test_known_faults_are_kept(control: Numbers, experiment: Numbers) -> None:
    assert judge_one(control, experiment).classification is Classification.PASS


def test_a_metric_of_errors_is_not_a_failure_and_scores_100() -> None:
    metric = MetricConfig("m", groups=("g",))
    errors = [seed for seed in range(20) if judge_one([10], [1], seed=seed).classification == "Error"]
    found = judge_kayenta(CanaryConfig("c", (metric,)), [pair([10], [1])], JUDGE, seed=errors[0])
    assert (found.score, found.classification) == (100, Score.PASS)
    assert found.groups[0].score is None
    assert found.results[0].reason == "Metric Classification Failed"


@pytest.mark.parametrize(
    ("control", "experiment", "errors", "label"), [(1, 10, 0.08, "High"), (10, 1, 0.95, "Low")]
)
def test_one_point_each_is_decided_by_chance(
    control: float, experiment: float, errors: float, label: str
) -> None:
    """The parts of errors are the specification's: they hang on the last bit of ``x - shift``."""
    found = [judge_one([control], [experiment], seed=seed).classification for seed in range(500)]
    assert found.count(Classification.ERROR) / 500 == pytest.approx(errors, abs=0.05)
    assert set(found) == {Classification.ERROR, label}


def test_two_constants_are_told_apart_and_the_seed_repeats_the_noise() -> None:
    first, again, other = (judge_one([1.0] * 5, [10.0] * 5, seed=seed) for seed in (3, 3, 4))
    assert first.classification is Classification.HIGH
    assert first == again
    assert first.interval != other.interval
    assert first.interval
    assert first.interval.estimate == pytest.approx(9, abs=1e-3)
    assert first.experiment.std == 0, "the noise is not in the figures"
    zero = judge_one([0.0] * 5, [10.0] * 5)
    assert (zero.classification, zero.ratio, zero.effect) == (Classification.HIGH, None, None)


NODATA: list[tuple[dict[str, Any], Numbers, Numbers, str, bool]] = [
    ({}, [], [1, 2], "Nodata", False),
    ({}, [nan, nan], [1, 2], "Nodata", False),
    ({"critical": True}, [1, 2], [], "Nodata", True),
    ({"must_have_data": True}, [1, 2], [], "NodataFailMetric", False),
    ({"must_have_data": True, "critical": True}, [1, 2], [], "Nodata", True),
    ({"nan": NanStrategy.REPLACE, "must_have_data": True, "critical": True}, [1, 2], [], "Pass", False),
    ({"nan": NanStrategy.REPLACE}, [nan] * 5, [nan] * 5, "Pass", False),
    ({"nan": NanStrategy.REPLACE}, [nan] * 5, [3, 4, 5, 6, 7], "High", False),
]


@pytest.mark.parametrize(("how", "control", "experiment", "label", "critical"), NODATA)
def test_missing_values(
    how: dict[str, Any], control: Numbers, experiment: Numbers, label: str, *, critical: bool
) -> None:
    found = judge_one(control, experiment, **how)
    assert (found.classification, found.critical) == (label, critical)


def test_equal_values_in_another_order_are_identical() -> None:
    found = judge_one([1, 2, 3], [3, 1, 2], critical=True)
    assert (found.classification, found.reason) == ("Pass", "The Canary and Baseline data are identical")
    assert (found.interval, found.ratio) == (None, 1.0)
    assert judge_one([1, 1, 1], [1, 1]).reason == ""


@pytest.mark.parametrize(
    ("direction", "up", "down"),
    [("increase", "High", "Pass"), ("decrease", "Pass", "Low"), ("either", "High", "Low")],
)
def test_only_the_direction_that_is_worse_counts(direction: str, up: str, down: str) -> None:
    low, high = [1, 2, 3, 4, 5], [21, 22, 23, 24, 25]
    assert judge_one(low, high, direction=Direction(direction)).classification == up
    assert judge_one(high, low, direction=Direction(direction)).classification == down


@pytest.mark.parametrize(
    ("effect", "label", "critical"),
    [
        (EffectSize(), "High", True),
        (EffectSize(critical_increase=13), "High", False),
        (EffectSize(allowed_increase=13), "Pass", False),
        (EffectSize(EffectMeasure.CLES, 0.8, 0.2, 0.5, 0.5), "High", True),
        (EffectSize(EffectMeasure.CLES, 1.1, 0.2, 0.5, 0.5), "Pass", False),
    ],
)
def test_a_difference_must_be_as_large_as_allowed(effect: EffectSize, label: str, *, critical: bool) -> None:
    found = judge_one([1, 2.2, 1.1, 2.5, 3], [20, 22, 21, 25, 30], effect=effect, critical=True)
    assert (found.classification, found.critical) == (label, critical)
    assert found.effect == pytest.approx(1.0 if effect.measure is EffectMeasure.CLES else 12.0408163)
    if critical:
        assert found.reason == "The metric m was classified as High (Critical)"


def test_outliers_beyond_the_outermost_hundredths_are_dropped_on_each_side() -> None:
    """The fences never lie inside the 1st and 99th percentile: 4 % of spikes survive."""
    calm = [1.0, 1.1, 0.9, 1.0, 1.2] * 20
    one = judge_one(calm, [*calm[:-1], 500.0], outliers=OutlierStrategy.REMOVE)
    assert (one.experiment.count, one.experiment.max) == (99, 1.2)
    assert judge_one(calm, [*calm[:-1], 500.0]).experiment.count == 100
    four = judge_one(calm, calm[:-4] + [500.0] * 4, outliers=OutlierStrategy.REMOVE)
    assert four.experiment.count == 100
    empty = judge_one([nan], [1.0, 2.0], outliers=OutlierStrategy.REMOVE)
    assert empty.classification is Classification.NODATA


def scored(labels: Sequence[tuple[str, str]], weights: dict[str, float]) -> Judgement:
    """Metrics that pass, rise or have no data, each in the groups after its label."""
    shapes: dict[str, tuple[Numbers, Numbers]] = {
        "Pass": ([1, 2, 3], [3, 2, 1]),
        "High": ([1, 2, 3, 4, 5], [21, 22, 23, 24, 25]),
        "Nodata": ([], [1, 2]),
    }
    metrics = tuple(
        MetricConfig(f"m{place}", groups=tuple(groups), critical="!" in label, muted="~" in label)
        for place, (label, groups) in enumerate(labels)
    )
    pairs = [pair(*shapes[label.strip("!~")], f"m{place}") for place, (label, _) in enumerate(labels)]
    return judge_kayenta(CanaryConfig("c", metrics, group_weights=weights), pairs, JUDGE, seed=0)


SCORES: list[tuple[str, list[tuple[str, str]], dict[str, float], float]] = [
    ("groups without a weight share the rest", [("Pass", "a"), ("High", "b"), ("Pass", "c")], {"a": 60}, 80),
    ("weights below 100 cap the score", [("Pass", "a")], {"a": 50}, 50),
    ("a weight without metrics is lost", [("Pass", "a")], {"a": 50, "gone": 50}, 50),
    ("too large weights make a share negative", [("Pass", "a"), ("Pass", "b")], {"a": 120}, 100),
    ("in two groups", [("High", "ab"), ("Pass", "a")], {"a": 50, "b": 50}, 25),
    ("without a group it is invisible", [("High", ""), ("Pass", "a")], {}, 100),
    ("half up", [("Pass", "a"), ("Pass", "a"), ("High", "a")], {}, 66.67),
    (
        "a group without data counts as 100",
        [("High", "a"), ("Pass", "a"), ("Pass", "a"), ("Nodata", "b")],
        {},
        83.33,
    ),
    ("half without data", [("Pass", "a"), ("Nodata", "b")], {}, 0),
    ("critical", [("Pass", "a"), ("High!", "a")], {}, 0),
    ("critical but good", [("Pass!", "a"), ("High", "a")], {}, 50),
    ("muted", [("Pass", "a"), ("High!~", "a")], {}, 100),
    ("all muted", [("Pass~", "a")], {}, 0),
    ("no results", [], {"a": 100}, 0),
]


@pytest.mark.parametrize(
    ("labels", "weights", "score"), [one[1:] for one in SCORES], ids=[one[0] for one in SCORES]
)
def test_scores(labels: list[tuple[str, str]], weights: dict[str, float], score: float) -> None:
    assert scored(labels, weights).score == score


def test_the_reason_says_what_failed() -> None:
    critical = scored([("Pass", "a"), ("High!", "a")], {})
    assert critical.reason == "Canary Failed: The metric m1 was classified as High (Critical)"
    nodata = scored([("Nodata", "a")], {})
    assert nodata.reason == "Canary Failed: 50% or more metrics returned NODATA"
    assert "m1 High" in scored([("Pass", "a"), ("High", "a")], {}).reason


@pytest.mark.parametrize(
    ("thresholds", "label"), [((50, 20), "Pass"), ((50.01, 50), "Marginal"), ((95, 50.01), "Fail")]
)
def test_meeting_a_threshold_is_enough(thresholds: tuple[float, float], label: str) -> None:
    metrics = (MetricConfig("a", groups=("g",)), MetricConfig("b", groups=("g",)))
    pairs = [pair([1, 2], [2, 1], "a"), pair([1, 2, 3], [21, 22, 23], "b")]
    found = judge_kayenta(CanaryConfig("c", metrics), pairs, Thresholds(*thresholds), seed=0)
    assert (found.score, found.classification) == (50, label)


def test_a_pair_that_no_metric_asked_for_is_refused_and_one_that_is_missing_is_told() -> None:
    config = CanaryConfig("c", (MetricConfig("cpu", groups=("g",)), MetricConfig("mem", groups=("g",))))
    with pytest.raises(InputError, match=r"pairs\.1\.name: found 'disk', expected one of .*: cpu, mem"):
        judge_kayenta(config, [pair([1], [1], "cpu"), pair([1], [1], "disk")], JUDGE, seed=0)
    found = judge_kayenta(config, [pair([1], [1], "cpu")], JUDGE, seed=0)
    assert found.warnings == (
        "pairs: found none of 'mem', expected one of each metric; it counts for nothing",
    )


@pytest.mark.parametrize(("scale", "compared"), [(1e307, False), (1e306, True), (1e-320, True)])
def test_values_at_the_ends_of_what_a_number_holds_are_judged(scale: float, *, compared: bool) -> None:
    """Where the range of differences is infinite nothing fails, as with infinite values."""
    control = [scale * value for value in (1, 2, 3, 4, 5)]
    experiment = [scale * value for value in (-9, 6, 7, 8, 9)]
    found = judge_one(control, experiment)
    plain = classify_plainly(MetricConfig("m"), np.array(control), np.array(experiment))
    assert found.classification == plain.label
    interval = found.interval and (found.interval.lower, found.interval.upper)
    assert interval == ((plain.lower, plain.upper) if compared else None)
