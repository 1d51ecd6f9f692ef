"""The judge `davy`: how often it is wrong, by simulation with fixed seeds, beside Kayenta's judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest

from tasks.domain.canary import CanaryConfig, Direction, MetricConfig, Thresholds
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.davy import CHANCE, DOUBT, judge_davy
from tasks.judge.judgement import Judgement, Score
from tasks.judge.kayenta import judge_kayenta

Law = Callable[[np.random.Generator, int], Values]
Judge = Callable[..., Judgement]

LAWS: dict[str, Law] = {
    "normal": lambda draw, points: draw.normal(10, 1, points),
    "lognormal": lambda draw, points: draw.lognormal(0, 0.5, points),
    "heavy": lambda draw, points: draw.lognormal(0, 1.5, points),
    "counts": lambda draw, points: draw.poisson(2, points).astype(np.float64),
    "sparse": lambda draw, points: draw.poisson(0.3, points).astype(np.float64),
    "rare": lambda draw, points: draw.poisson(0.05, points).astype(np.float64),
    "bursts": lambda draw, points: (draw.random(points) < 0.15) * draw.lognormal(0, 1, points),
    "spiky": lambda draw, points: draw.normal(10, 1, points) * np.where(draw.random(points) < 0.1, 100, 1),
}
"""What metrics of a service are like that nothing is wrong with."""


def shares(
    judge: Judge,
    law: Law,
    change: Callable[[Values], Values] = np.array,
    *,
    metrics: int,
    times: int,
    points: int,
) -> dict[Score, float]:
    """What part of so many canaries got which verdict; every metric is critical."""
    draw = np.random.default_rng([metrics, points])
    names = [f"metric{number}" for number in range(metrics)]
    config = CanaryConfig("shop", tuple(MetricConfig(name, groups=("all",), critical=True) for name in names))
    found: Counter[Score] = Counter()
    for _ in range(times):
        pairs = [MetricPair(name, law(draw, points), change(law(draw, points))) for name in names]
        found[judge(config, pairs, Thresholds(), seed=0).classification] += 1
    return {score: found[score] / times for score in Score}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("points", [60, 15])
def test_a_good_metric_fails_no_more_often_than_stated(law: str, points: int) -> None:
    found = shares(judge_davy, LAWS[law], metrics=1, times=500, points=points)
    assert found[Score.FAIL] <= CHANCE
    assert found[Score.INCONCLUSIVE] <= DOUBT


@pytest.mark.parametrize("law", ["normal", "sparse"])
def test_fifty_good_metrics_fail_a_canary_no_more_often_than_one(law: str) -> None:
    """Kayenta tests each metric as if it were the only one."""
    kayenta, davy = (
        shares(judge, LAWS[law], metrics=50, times=200, points=60) for judge in (judge_kayenta, judge_davy)
    )
    assert kayenta[Score.FAIL] > 3 * CHANCE
    assert davy[Score.FAIL] <= CHANCE
    assert davy[Score.INCONCLUSIVE] <= DOUBT


def test_fifty_good_metrics_of_all_kinds_fail_no_more_often_than_stated() -> None:
    def any_law(draw: np.random.Generator, points: int) -> Values:
        return LAWS[list(LAWS)[points % len(LAWS)]](draw, 60)

    found = [shares(judge_davy, any_law, metrics=50, times=15, points=points) for points in range(len(LAWS))]
    assert np.mean([one[Score.FAIL] for one in found]) <= CHANCE


@pytest.mark.parametrize(
    ("law", "least"), [("normal", 1), ("lognormal", 1), ("counts", 0.9), ("spiky", 0.9), ("heavy", 0.25)]
)
def test_a_doubled_metric_is_found_at_least_as_often_as_by_kayenta(law: str, least: float) -> None:
    kayenta, davy = (
        shares(judge, LAWS[law], lambda values: 2 * values, metrics=1, times=200, points=60)
        for judge in (judge_kayenta, judge_davy)
    )
    assert davy[Score.FAIL] >= max(least, kayenta[Score.FAIL])


@pytest.mark.parametrize(("rate", "worse"), [(0, 0.1), (0.1, 0.3), (0.5, 1)])
def test_more_sparse_errors_are_found_more_often_than_by_kayenta(rate: float, worse: float) -> None:
    draw = np.random.default_rng(0)
    config = CanaryConfig("shop", (MetricConfig("errors", groups=("all",), direction=Direction.INCREASE),))
    found: Counter[str] = Counter()
    for _ in range(200):
        pairs = [MetricPair("errors", *(draw.poisson(each, 60).astype(np.float64) for each in (rate, worse)))]
        for judge in (judge_kayenta, judge_davy):
            found[judge.__name__] += judge(config, pairs, Thresholds(), seed=0).classification is Score.FAIL
    assert found["judge_davy"] >= 110
    assert found["judge_davy"] > 1.5 * found["judge_kayenta"]


def test_a_doubled_metric_is_found_among_fifty() -> None:
    draw = np.random.default_rng(0)
    names = [f"metric{number}" for number in range(50)]
    config = CanaryConfig("shop", tuple(MetricConfig(name, groups=("all",), critical=True) for name in names))
    found = 0
    for _ in range(50):
        pairs = [MetricPair(name, *(draw.lognormal(0, 0.5, 60) for _ in range(2))) for name in names]
        pairs[7] = MetricPair(names[7], pairs[7].control, 2 * pairs[7].experiment)
        judgement = judge_davy(config, pairs, Thresholds())
        found += judgement.results[7].classification == "High"
    assert found >= 48


def drifting(draw: np.random.Generator, points: int) -> Values:
    """Each point keeps half of the one before."""
    values = draw.normal(size=points)
    for place in range(1, points):
        values[place] = 0.5 * values[place - 1] + sqrt(0.75) * values[place]
    return 10 + values


def test_neighbours_that_resemble_each_other_cause_no_more_failures_than_stated() -> None:
    kayenta, davy = (
        shares(judge, drifting, metrics=1, times=500, points=60) for judge in (judge_kayenta, judge_davy)
    )
    assert kayenta[Score.FAIL] > 3 * CHANCE
    assert davy[Score.FAIL] <= CHANCE


def test_a_regression_that_begins_half_way_is_found() -> None:
    def half(values: Values) -> Values:
        return values + np.where(np.arange(60) < 30, 0, 3)

    assert shares(judge_davy, LAWS["normal"], half, metrics=1, times=200, points=60)[Score.FAIL] >= 0.95


@pytest.mark.parametrize("direction", [Direction.INCREASE, Direction.EITHER])
def test_spikes_in_a_tenth_of_all_points_are_found_and_kayenta_does_not(direction: Direction) -> None:
    draw = np.random.default_rng(0)
    config = CanaryConfig("shop", (MetricConfig("latency", groups=("all",), direction=direction),))
    found: Counter[str] = Counter()
    for _ in range(100):
        spikes = np.where(draw.permutation(120) < 12, 100, 1)
        pairs = [MetricPair("latency", draw.normal(10, 1, 120), draw.normal(10, 1, 120) * spikes)]
        for judge in (judge_kayenta, judge_davy):
            found[judge.__name__] += judge(config, pairs, Thresholds(), seed=0).classification is Score.FAIL
    assert found["judge_davy"] == 100
    assert found["judge_kayenta"] < 20
