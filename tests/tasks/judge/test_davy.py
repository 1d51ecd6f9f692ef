"""The judge `davy`: each known fault of Kayenta's judge, shown on it, and mended, on one and the same input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

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
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.davy import judge_davy
from tasks.judge.judgement import Classification, Judgement, Score
from tasks.judge.kayenta import judge_kayenta

ZEROS = np.zeros(60)
WORSE = Direction.INCREASE


def config_of(*metrics: MetricConfig, weights: Mapping[str, float] | None = None) -> CanaryConfig:
    return CanaryConfig("shop", metrics, group_weights=weights or {})


def pair(name: str, experiment: ArrayLike, control: ArrayLike) -> MetricPair:
    return MetricPair(name, np.asarray(control, dtype=np.float64), np.asarray(experiment, dtype=np.float64))


def both(
    experiment: ArrayLike, control: ArrayLike, *, seed: int = 1, **settings: object
) -> tuple[Judgement, Judgement]:
    """Kayenta's judgement, and ours, on one metric."""
    config = config_of(MetricConfig("latency", groups=("users",), **settings))  # type: ignore[arg-type]  # as given
    pairs = [pair("latency", experiment, control)]
    with np.errstate(invalid="ignore"):
        return tuple(judge(config, pairs, Thresholds(), seed=seed) for judge in (judge_kayenta, judge_davy))


def labels(experiment: ArrayLike, control: ArrayLike, **settings: object) -> tuple[str, str]:
    """Kayenta's classification, and ours."""
    kayenta, davy = both(experiment, control, **settings)
    return kayenta.results[0].classification, davy.results[0].classification


def steady(level: float = 10.0, *, points: int = 60, seed: int = 0) -> Values:
    """A good metric: a tenth of its level up and down."""
    return np.random.default_rng([seed, points]).normal(level, abs(level) / 10, points)


def test_a_shift_that_kayenta_finds_is_found() -> None:
    assert labels(steady(14, seed=1), steady()) == ("High", "High")
    assert labels(steady(6, seed=1), steady()) == ("Low", "Low")
    assert labels(steady(seed=1), steady()) == ("Pass", "Pass")


@pytest.mark.parametrize("scale", [1e-6, 1e-9, 1e-300])
def test_metrics_of_tiny_scale_are_judged_like_others(scale: float) -> None:
    assert labels(steady(14, seed=1) * scale, steady() * scale) == ("Pass", "High")


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_what_is_allowed_is_allowed_at_any_scale(scale: float) -> None:
    wide = EffectSize(allowed_increase=1.5)
    assert labels(steady(13, seed=1) * scale, steady() * scale, effect=wide)[1] == "Pass"


@pytest.mark.parametrize(("level", "label"), [(-100, "Low"), (-1, "High")])
def test_a_negative_metric_can_fail(level: float, label: str) -> None:
    assert labels(steady(level, seed=1), steady(-10)) == ("Pass", label)


def test_a_change_of_a_negative_metric_within_what_is_allowed_passes() -> None:
    wide = EffectSize(allowed_increase=1.5, allowed_decrease=0.5)
    assert labels(steady(-12, seed=1), steady(-10), effect=wide)[1] == "Pass"
    assert labels(steady(-16, seed=1), steady(-10), effect=wide)[1] == "Low"


@pytest.mark.parametrize("direction", [Direction.INCREASE, Direction.EITHER])
def test_spikes_fail_a_candidate_whose_median_is_good(direction: Direction) -> None:
    spiky = steady(seed=1)
    spiky[::10] *= 100
    kayenta, davy = both(spiky, steady(), direction=direction)
    assert kayenta.classification is Score.PASS
    assert davy.classification is Score.FAIL
    assert davy.results[0].classification is Classification.HIGH
    assert "6 of 60 points of the experiment and 0 of 60 of the control lie above" in davy.results[0].reason


def test_too_few_spikes_for_proof_are_held_up_not_passed() -> None:
    spiky = steady(seed=1)
    spiky[::20] *= 100
    kayenta, davy = both(spiky, steady())
    assert kayenta.classification is Score.PASS
    assert davy.classification is Score.INCONCLUSIVE
    assert davy.results[0].needed == "about 149 points a side to tell it from chance, found 60"
    more = np.tile(spiky, 3)
    assert labels(more, np.tile(steady(), 3))[1] == "High"


def test_one_outlier_fails_nobody() -> None:
    stray = steady(seed=1)
    stray[7] *= 100
    assert labels(stray, steady())[1] == "Pass"
    assert labels(steady(), stray)[1] == "Pass"


def test_dips_are_spikes_of_what_should_be_high() -> None:
    dipping = steady(seed=1)
    dipping[::9] = 0
    kayenta, davy = both(dipping, steady(), direction=Direction.DECREASE)
    assert kayenta.classification is Score.PASS
    assert davy.results[0].classification is Classification.LOW
    assert "latency dipped: 7 of 60" in davy.results[0].reason


def test_wild_values_that_kayenta_780_reports_fail() -> None:
    calm = [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17.0, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6, 17.7]
    wild = [1.0, 100.0, 4.0, 101.0, 5.0, 102.0, 6.0, 103.0, 7.0, 104.0, 8.0, 105.0, 9.0, 106.0, 17.0]
    assert labels(wild, calm) == ("Pass", "High")


def test_an_outlier_of_the_control_hides_no_regression() -> None:
    """Its mean is above all of the candidate's values, which are five times what they should be."""
    assert labels([5.0] * 19 + [6.0], [1.0] * 19 + [1000.0]) == ("Pass", "High")


def test_sparse_errors_over_a_baseline_without_any_fail() -> None:
    errors = ZEROS.copy()
    errors[::7] = 2
    kayenta, davy = both(errors, ZEROS, direction=WORSE)
    assert kayenta.classification is Score.PASS
    assert davy.classification is Score.FAIL
    assert davy.results[0].ratio is None


def test_the_sparse_errors_that_kayenta_426_reports_do_not_pass() -> None:
    errors = [0.0, 1.0, 2.0, 1.0, 0.0, 0.0]
    assert labels(errors, [0.0] * 6) == ("Pass", "Inconclusive")
    assert labels(errors * 5, [0.0] * 30) == ("Pass", "High")


def test_a_stray_error_fails_nobody() -> None:
    stray = ZEROS.copy()
    stray[7] = 3
    assert labels(stray, ZEROS, direction=WORSE)[1] == "Pass"


def test_an_allowed_ratio_allows_nothing_over_a_baseline_of_zero() -> None:
    wide = EffectSize(allowed_increase=10.0, critical_increase=10.0)
    davy = both(ZEROS + 0.1, ZEROS, effect=wide, critical=True)[1]
    assert davy.results[0].classification is Classification.HIGH
    assert davy.results[0].critical


def test_a_canary_of_errors_alone_does_not_score_100() -> None:
    kayenta, davy = both([1.0], [10.0])
    assert kayenta.results[0].classification is Classification.ERROR
    assert (kayenta.classification, kayenta.score) == (Score.PASS, 100.0)
    assert (davy.classification, davy.score) == (Score.INCONCLUSIVE, 0.0)


def test_a_metric_that_cannot_be_judged_keeps_the_canary_from_passing() -> None:
    metrics = [MetricConfig(f"metric{number}", groups=("users",)) for number in range(50)]
    pairs = [pair(metric.name, steady(seed=1), steady()) for metric in metrics[1:]]
    davy = judge_davy(config_of(*metrics), [pair("metric0", np.ones((2, 9)), steady()), *pairs], Thresholds())
    assert davy.results[0].classification is Classification.ERROR
    assert (davy.classification, davy.score) == (Score.INCONCLUSIVE, 98.0)
    assert "metric0 was not judged: series: found [2, 1] dimensions, expected 1" in davy.reason


@pytest.mark.parametrize("every", [1, 5])
def test_infinite_values_are_worse_than_any_other(every: int) -> None:
    endless = steady(seed=1)
    endless[::every] = np.inf
    kayenta, davy = both(endless, steady(), direction=WORSE)
    assert kayenta.classification is Score.PASS
    assert davy.results[0].classification is Classification.HIGH
    assert f"infinite are {60 // every} of 60 points of the experiment" in davy.results[0].reason


def test_infinite_values_over_a_baseline_of_zero_fail() -> None:
    assert labels(np.full(60, np.inf), ZEROS) == ("Pass", "High")
    assert labels(np.full(60, np.inf), np.full(60, np.inf))[1] == "Inconclusive"


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_a_single_infinite_value_is_wrong_data_and_no_pass(side: int, value: float) -> None:
    series = [steady(seed=1), steady()]
    series[side][7] = value
    kayenta, davy = both(*series)
    assert kayenta.classification is Score.PASS
    assert davy.classification is Score.INCONCLUSIVE
    assert davy.results[0].needed == "finite values"


@pytest.mark.parametrize(("experiment", "control"), [([10, 11], [1, 2]), ([10], [1]), ([4] * 5, [1] * 5)])
def test_too_few_points_are_inconclusive_with_what_is_needed(
    experiment: Sequence[float], control: Sequence[float]
) -> None:
    kayenta, davy = both(experiment, control)
    assert kayenta.results[0].classification in {Classification.HIGH, Classification.ERROR}
    assert davy.classification is Score.INCONCLUSIVE
    assert davy.results[0].needed == f"at least 14 points a side, found {len(control)}"


def test_more_metrics_need_more_points() -> None:
    metrics = [MetricConfig(f"metric{number}", groups=("users",)) for number in range(50)]
    pairs = [pair(metric.name, steady(points=20, seed=1), steady(points=20)) for metric in metrics]
    few = judge_davy(config_of(*metrics), pairs, Thresholds()).results[0]
    assert few.needed == "at least 24 points a side, found 20"


def test_only_a_change_of_critical_size_is_critical() -> None:
    size = EffectSize(critical_increase=2.0)
    found = [both(steady(level, seed=1), steady(), critical=True, effect=size)[1] for level in (14, 24)]
    assert [judgement.results[0].classification for judgement in found] == ["High", "High"]
    assert [judgement.results[0].critical for judgement in found] == [False, True]


def test_two_constants_are_judged_without_noise() -> None:
    """Kayenta's answer depends on the noise that it draws."""
    found = [labels([10.00005] * 20, [10.0] * 20, seed=seed) for seed in range(20)]
    assert {kayenta for kayenta, _ in found} == {"Pass", "High"}
    assert {davy for _, davy in found} == {"High"}


def test_equal_constants_pass() -> None:
    assert labels(ZEROS, ZEROS)[1] == "Pass"
    assert labels([0.1 + 0.2] * 60, [0.3] * 60)[1] == "Pass"


def test_what_may_rise_may_rise() -> None:
    assert labels(steady(14, seed=1), steady(), direction=Direction.DECREASE)[1] == "Pass"
    assert labels(steady(14, seed=1), steady(), effect=EffectSize(allowed_increase=1.6))[1] == "Pass"
    cles = EffectSize(EffectMeasure.CLES, 0.99, 0.01, 1.0, 0.0)
    assert labels(steady(11, seed=1), steady(), effect=cles)[1] == "Pass"
    assert labels(steady(20, seed=1), steady(), effect=cles)[1] == "High"


def test_a_reason_says_what_happened() -> None:
    reason = both(ZEROS + 2.1, ZEROS, direction=WORSE)[1].results[0].reason
    assert reason == ("latency rose from 0 to 2.1 (mean per point), shift 2.1 to 2.1 at 98 %, allowed +0 %")


def test_gaps_are_filled_only_where_something_was_measured() -> None:
    nothing = np.full(60, np.nan)
    kayenta, davy = both(nothing, nothing, nan=NanStrategy.REPLACE)
    assert kayenta.classification is Score.PASS
    assert davy.results[0].classification is Classification.NODATA
    assert davy.classification is Score.INCONCLUSIVE
    assert labels(nothing, ZEROS + 3, nan=NanStrategy.REPLACE, direction=WORSE)[1] == "Pass"
    assert labels(ZEROS + 3, nothing, nan=NanStrategy.REPLACE, direction=WORSE)[1] == "High"


def test_outliers_are_left_out_where_the_config_wants_it() -> None:
    stray = steady(seed=1)
    stray[7] = np.inf
    stray[8] = 1000
    kept, removed = (
        both(steady(seed=1), np.abs(stray[8:]), outliers=strategy)[1].results[0].control.max
        for strategy in (OutlierStrategy.KEEP, OutlierStrategy.REMOVE)
    )
    assert (kept, removed < 20) == (1000, True)


def test_a_value_on_the_fence_is_no_outlier_in_any_unit() -> None:
    control = np.array([1.0] * 20 + [2.0] * 20 + [5.0])
    counts = {
        both(control, control * scale, outliers=OutlierStrategy.REMOVE)[1].results[0].control.count
        for scale in np.geomspace(1e-3, 1e3, 100)
    }
    assert counts == {41}


def test_a_pair_that_the_config_does_not_know_is_refused() -> None:
    with pytest.raises(InputError, match="pairs: found 'errors', expected one of latency"):
        judge_davy(config_of(MetricConfig("latency")), [pair("errors", ZEROS, ZEROS)], Thresholds())
