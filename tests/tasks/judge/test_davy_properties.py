"""The judge `davy`: what holds of any data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.davy import judge_davy
from tasks.judge.judgement import Judgement, MetricResult, Score

MIRRORED = {"High": "Low", "Low": "High"}
FLIPPED = {Direction.INCREASE: Direction.DECREASE, Direction.DECREASE: Direction.INCREASE}

directions = st.sampled_from(Direction)
plain = st.integers(-500, 500).map(lambda value: value / 10)
plain_series = st.lists(plain | st.just(0.0), min_size=5, max_size=60).map(np.array)
any_series = st.lists(st.floats(), max_size=40).map(lambda values: np.array(values, dtype=np.float64))
bounds = st.sampled_from([1.0, 1.15, 1.9])


@st.composite
def metrics(draw: st.DrawFn) -> MetricConfig:
    up, down, up_critical, down_critical = (draw(bounds) for _ in range(4))
    return MetricConfig(
        "latency",
        groups=("users",),
        direction=draw(directions),
        nan=draw(st.sampled_from(NanStrategy)),
        outliers=draw(st.sampled_from(OutlierStrategy)),
        effect=EffectSize(EffectMeasure.MEAN_RATIO, up, 2 - down, up_critical, 2 - down_critical),
        critical=draw(st.booleans()),
    )


def judge(metric: MetricConfig, experiment: Values, control: Values) -> Judgement:
    pair = MetricPair(metric.name, control=control, experiment=experiment)
    return judge_davy(CanaryConfig("shop", (metric,)), [pair], Thresholds())


def result(metric: MetricConfig, experiment: Values, control: Values) -> MetricResult:
    return judge(metric, experiment, control).results[0]


@st.composite
def shifted(draw: st.DrawFn) -> tuple[Values, Values]:
    """Two series that often differ enough to fail."""
    experiment, control = draw(plain_series), draw(plain_series)
    return experiment + draw(st.sampled_from([0, 0, 5, -5, 50, -50])), control


@settings(max_examples=300, deadline=None)
@given(metric=metrics(), series=shifted(), exponent=st.floats(-12, 12))
def test_the_unit_of_a_metric_changes_nothing(
    metric: MetricConfig, series: tuple[Values, Values], exponent: float
) -> None:
    as_given, scaled = (result(metric, *(values * scale for values in series)) for scale in (1, 10**exponent))
    assert scaled.classification == as_given.classification
    assert scaled.critical == as_given.critical
    assert scaled.needed == as_given.needed


@settings(max_examples=300, deadline=None)
@given(metric=metrics(), series=shifted())
def test_a_mirrored_metric_is_judged_alike(metric: MetricConfig, series: tuple[Values, Values]) -> None:
    size = metric.effect
    swapped = EffectSize(
        size.measure,
        2 - size.allowed_decrease,
        2 - size.allowed_increase,
        2 - size.critical_decrease,
        2 - size.critical_increase,
    )
    mirrored = replace(metric, effect=swapped, direction=FLIPPED.get(metric.direction, metric.direction))
    as_given, negated = result(metric, *series), result(mirrored, *(-values for values in series))
    if metric.direction is Direction.EITHER and as_given.classification in MIRRORED:
        assert negated.classification in MIRRORED  # both ways at once: High is named first
    else:
        expected = MIRRORED.get(as_given.classification, as_given.classification)
        assert negated.classification == expected
        assert negated.critical == as_given.critical


@settings(max_examples=300, deadline=None)
@given(metric=metrics(), experiment=any_series, control=any_series)
def test_every_data_gets_a_verdict_with_a_reason(
    metric: MetricConfig, experiment: Values, control: Values
) -> None:
    judgement = judge(metric, experiment, control)
    found = judgement.results[0]
    assert judgement.reason
    assert found.reason
    assert 0 <= judgement.score <= 100
    assert (judgement.classification is Score.INCONCLUSIVE) == bool(found.needed)


@settings(max_examples=200, deadline=None)
@given(metric=metrics(), series=any_series)
def test_what_is_the_same_never_fails(metric: MetricConfig, series: Values) -> None:
    assert judge(metric, series, series).classification is not Score.FAIL


@settings(max_examples=200, deadline=None)
@given(metric=metrics(), experiment=any_series, control=any_series)
def test_nothing_infinite_and_nothing_missing_passes(
    metric: MetricConfig, experiment: Values, control: Values
) -> None:
    passed = judge(metric, experiment, control).classification is Score.PASS
    assert not (passed and np.isinf(np.concatenate([experiment, control])).any())
    assert not (passed and min(len(experiment), len(control)) < 7)


@settings(max_examples=100, deadline=None)
@given(series=st.lists(shifted(), min_size=1, max_size=6), data=st.data())
def test_the_order_of_metrics_changes_nothing(
    series: list[tuple[Values, Values]], data: st.DataObject
) -> None:
    """Nor does judging again."""
    pairs = [
        MetricPair(f"metric{place}", control=control, experiment=experiment)
        for place, (experiment, control) in enumerate(series)
    ]
    config = CanaryConfig("shop", tuple(MetricConfig(pair.name) for pair in pairs))
    found = judge_davy(config, pairs, Thresholds())
    other = judge_davy(config, data.draw(st.permutations(pairs)), Thresholds())
    assert {one.name: replace(one, id="") for one in other.results} == {
        one.name: replace(one, id="") for one in found.results
    }
    assert (other.score, other.classification) == (found.score, found.classification)
