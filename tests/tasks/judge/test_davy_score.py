"""The judge `davy`: what groups, weights, muted and undecided metrics come to; and what Kayenta makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from tasks.domain.canary import CanaryConfig, MetricConfig, Thresholds
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair
from tasks.judge.davy import judge_davy
from tasks.judge.judgement import Classification, Judgement, Score
from tasks.judge.kayenta import judge_kayenta

GOOD = np.random.default_rng(0).normal(10, 1, 60)
SERIES = {
    "pass": (np.random.default_rng(1).normal(10, 1, 60), GOOD),
    "high": (GOOD + 5, GOOD),
    "few": (GOOD[:4], GOOD[:4] + 1),
    "nodata": (GOOD[:0], GOOD),
    "error": (np.ones((2, 2)), GOOD),
}
"""Experiment and control by what becomes of them."""


def metric(what: str, *groups: str, number: int = 0, **settings: bool) -> MetricConfig:
    return MetricConfig(f"{what}-{'-'.join(groups)}{number}", groups=groups, **settings)  # type: ignore[arg-type]  # as given


def both(
    *metrics: MetricConfig, weights: Mapping[str, float] | None = None, thresholds: Thresholds | None = None
) -> tuple[Judgement, Judgement]:
    """Kayenta's judgement, and ours; a metric's name begins with a word of `SERIES`."""
    config = CanaryConfig("shop", metrics, group_weights=weights or {})
    series = [(one.name, *SERIES[one.name.split("-")[0]]) for one in metrics]
    pairs = [MetricPair(name, control=control, experiment=experiment) for name, experiment, control in series]
    found = [
        judge(config, pairs, thresholds or Thresholds(), seed=1) for judge in (judge_kayenta, judge_davy)
    ]
    return found[0], found[1]


def said(judgement: Judgement) -> tuple[Score, float]:
    return judgement.classification, judgement.score


def many(what: str, *groups: str, count: int, **settings: bool) -> list[MetricConfig]:
    return [metric(what, *groups, number=number, **settings) for number in range(count)]


def test_a_group_without_data_is_no_pass() -> None:
    kayenta, davy = both(*many("pass", "web", count=3), metric("nodata", "db"), weights={"web": 50, "db": 50})
    assert said(kayenta) == (Score.PASS, 100)
    assert said(davy) == (Score.INCONCLUSIVE, 50)
    assert davy.reason == "score is 50 to 100; needed: data of group db"
    assert {group.name: group.score for group in davy.groups} == {"web": 100, "db": None}


def test_a_group_that_no_metric_is_in_is_no_pass_and_named() -> None:
    kayenta, davy = both(metric("pass", "web"), weights={"web": 50, "wbe": 50})
    assert said(kayenta) == (Score.FAIL, 50)
    assert said(davy) == (Score.INCONCLUSIVE, 50)
    assert davy.reason == "score is 50 to 100; needed: data of group wbe"


def test_a_group_without_data_does_not_save_what_has_failed() -> None:
    davy = both(metric("high", "web"), metric("nodata", "db"), weights={"web": 70, "db": 30})[1]
    assert davy.classification is Score.FAIL
    assert "high-web0 rose from" in davy.reason


@pytest.mark.parametrize("weight", [25.0, 80.0])
def test_weights_are_taken_in_proportion(weight: float) -> None:
    kayenta, davy = both(metric("pass", "web"), metric("pass", "db"), weights={"web": weight, "db": weight})
    assert kayenta.score == 2 * weight
    assert said(davy) == (Score.PASS, 100)
    assert davy.warnings == (f"groupWeights: found {2 * weight:g} in all, expected 100; taken in proportion",)


def test_groups_without_a_weight_share_what_is_left() -> None:
    metrics = [metric("pass", "web"), metric("high", "db"), metric("pass", "disk")]
    davy = both(*metrics, weights={"web": 60})[1]
    assert (davy.score, davy.warnings) == (80, ())
    kayenta, davy = both(*metrics, weights={"web": 110, "db": 0})
    assert kayenta.score == 100  # 110 less the 10 that are over
    assert said(davy) == (Score.PASS, 100)
    assert davy.warnings[1] == "groupWeights.disk: found nothing, and nothing left of 100; it does not count"


def test_a_metric_without_a_group_counts_in_one_of_its_own() -> None:
    kayenta, davy = both(metric("high"))
    assert said(davy) == (Score.FAIL, 0)
    kayenta, davy = both(metric("pass"))
    assert said(kayenta) == (Score.FAIL, 0)
    assert said(davy) == (Score.PASS, 100)


def test_a_metric_counts_in_each_of_its_groups() -> None:
    davy = both(metric("high", "web", "db"), metric("pass", "web"), metric("pass", "disk"))[1]
    assert [(group.name, group.score) for group in davy.groups] == [("web", 50), ("db", 0), ("disk", 100)]
    assert davy.score == 50


def test_a_critical_metric_that_fails_fails_everything() -> None:
    davy = both(*many("pass", "web", count=99), metric("high", "web", critical=True))[1]
    assert said(davy) == (Score.FAIL, 0)
    assert davy.reason.startswith("critical: high-web0 rose from ")


def test_a_critical_metric_that_is_not_decided_decides_nothing() -> None:
    kayenta, davy = both(*many("pass", "web", count=30), metric("nodata", "web", critical=True))
    assert kayenta.classification is Score.FAIL
    assert said(davy) == (Score.INCONCLUSIVE, 100)
    assert davy.reason == "score is 100 to 100; needed: nodata-web0, which is critical: data"
    davy = both(*many("pass", "web", count=30), metric("few", "web", critical=True))[1]
    assert davy.classification is Score.INCONCLUSIVE
    assert "at least 23 points a side, found 4" in davy.reason


def test_an_undecided_metric_holds_up_only_what_depends_on_it() -> None:
    davy = both(*many("pass", "web", count=30), metric("few", "web"))[1]
    assert said(davy) == (Score.PASS, 96.77)
    davy = both(*many("pass", "web", count=3), metric("few", "web"))[1]
    assert said(davy) == (Score.INCONCLUSIVE, 75)
    assert davy.reason.startswith("score is 75 to 100; needed: few-web0: at least ")
    davy = both(*many("high", "web", count=3), metric("few", "web"))[1]
    assert davy.classification is Score.FAIL


def test_an_error_holds_up_whatever_passes() -> None:
    metrics = [*many("pass", "web", count=99), metric("error", "web")]
    pairs = [MetricPair(one.name, *reversed(SERIES[one.name.split("-")[0]])) for one in metrics]
    davy = judge_davy(CanaryConfig("shop", tuple(metrics)), pairs, Thresholds())
    assert said(davy) == (Score.INCONCLUSIVE, 99)


def test_data_that_must_be_there_fails_where_it_is_missing() -> None:
    davy = both(metric("pass", "web"), metric("nodata", "web", must_have_data=True))[1]
    assert said(davy) == (Score.FAIL, 50)
    assert davy.results[1].classification is Classification.NODATA_FAIL
    assert "nodata-web0 has no data of the experiment" in davy.reason
    both_words = {"must_have_data": True, "critical": True}
    davy = both(*many("pass", "web", count=99), metric("nodata", "web", **both_words))[1]
    assert said(davy) == (Score.FAIL, 0)


def test_a_metric_that_no_pair_is_for_has_no_data() -> None:
    config = CanaryConfig("shop", (metric("pass", "web"), metric("gone", "web", must_have_data=True)))
    pairs = [MetricPair("pass-web0", *SERIES["pass"])]
    assert judge_kayenta(config, pairs, Thresholds(), seed=0).classification is Score.PASS
    davy = judge_davy(config, pairs, Thresholds())
    assert davy.classification is Score.FAIL
    assert davy.results[1].reason == "gone-web0 has no data of the experiment and the control"


def test_muted_metrics_are_reported_and_never_scored() -> None:
    metrics = [
        metric("pass", "web"),
        metric("high", "web", muted=True, critical=True),
        metric("high", "db", muted=True),
    ]
    davy = both(*metrics, weights={"web": 50, "db": 50})[1]
    assert said(davy) == (Score.PASS, 100)
    assert [result.classification for result in davy.results] == ["Pass", "High", "High"]
    assert davy.warnings == ("groupWeights.db: found only muted metrics, it does not count",)


def test_muted_metrics_cost_the_others_no_proof() -> None:
    alone = both(metric("few", "web"))[1].results[0].needed
    assert (
        both(metric("few", "web"), *many("pass", "web", count=50, muted=True))[1].results[0].needed == alone
    )


@pytest.mark.parametrize("metrics", [(), (metric("pass", "web", muted=True),)])
def test_nothing_to_judge_is_inconclusive(metrics: tuple[MetricConfig, ...]) -> None:
    davy = both(*metrics)[1]
    assert said(davy) == (Score.INCONCLUSIVE, 0)
    assert davy.reason.endswith("a metric that is not muted, in a group that has a weight")


def test_scores_meet_thresholds() -> None:
    metrics = [*many("pass", "web", count=3), metric("high", "web")]
    assert said(both(*metrics)[1]) == (Score.MARGINAL, 75)
    assert said(both(*metrics, thresholds=Thresholds(75, 50))[1]) == (Score.PASS, 75)
    assert said(both(*metrics, thresholds=Thresholds(95, 75.01))[1]) == (Score.FAIL, 75)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    config = replace(CanaryConfig("shop", (metric("pass", "web"),)), group_weights={"web": weight})
    with pytest.raises(InputError, match=r"groupWeights\.web: found .*, expected a number from 0"):
        judge_davy(config, [], Thresholds())
