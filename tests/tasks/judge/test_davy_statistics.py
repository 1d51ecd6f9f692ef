"""The judge `davy`: its arithmetic against scipy's, and against its own promises."""

from __future__ import annotations

from math import comb, inf, sqrt

import numpy as np
import pytest
from scipy.stats import fisher_exact, mannwhitneyu, norm, rankdata

from tasks.domain.canary import CanaryConfig, MetricConfig, Thresholds
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.davy_statistics import (
    LARGE,
    POWER,
    chance_of_ranks,
    chance_of_share,
    holm,
    points_needed,
    points_to_settle,
    relative,
    rise,
    shift,
    stretch,
    superiority,
)
from tasks.judge.kayenta import judge_kayenta

SAMPLES = {
    "normal": lambda draw, size: draw.normal(10, 1, size),
    "tied": lambda draw, size: draw.poisson(2, size).astype(np.float64),
    "sparse": lambda draw, size: draw.poisson(0.5, size).astype(np.float64),
}


def ranks(experiment: Values, control: Values) -> tuple[Values, Values]:
    found = rankdata(np.concatenate([experiment, control]))
    return found[: len(experiment)], found[len(experiment) :]


@pytest.mark.parametrize("law", SAMPLES)
@pytest.mark.parametrize("sizes", [(60, 60), (20, 90), (90, 20)])
@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_compared_as_scipy_does(law: str, sizes: tuple[int, int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    experiment, control = (SAMPLES[law](draw, size) for size in sizes)
    theirs = mannwhitneyu(experiment, control, alternative="greater", method="asymptotic")
    wider = sqrt(stretch(*ranks(experiment, control)))
    assert chance_of_ranks(experiment, control) == pytest.approx(norm.sf(norm.isf(theirs.pvalue) / wider))
    assert superiority(experiment, control) == pytest.approx(theirs.statistic / (sizes[0] * sizes[1]))


@pytest.mark.parametrize("points", [5, 6, 9, 13])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_few_points_are_given_no_more_weight_than_an_exact_test_gives(points: int, spread: float) -> None:
    """All of one side are above all of the other: one way of all to deal the points out."""
    control = spread * np.arange(points)
    assert chance_of_ranks(control + 100, control) >= 1 / comb(2 * points, points)


def test_ranks_say_nothing_where_almost_all_points_are_equal() -> None:
    experiment = np.zeros(20)
    experiment[:2] = 1
    assert chance_of_ranks(experiment, np.zeros(2000)) == 1.0


@pytest.mark.parametrize("found", [(6, 0), (6, 1), (1, 0), (3, 7), (60, 0)])
@pytest.mark.parametrize("points", [(60, 60), (60, 240)])
def test_spikes_are_compared_as_fisher_does_with_half_of_what_was_found(
    found: tuple[int, int], points: tuple[int, int]
) -> None:
    def exact(of_experiment: int) -> float:
        """At least so many of all that were found; more than there are is impossible."""
        rest = sum(found) - of_experiment
        if rest < 0 or of_experiment > points[0]:
            return 0.0
        table = [[of_experiment, rest], [points[0] - of_experiment, points[1] - rest]]
        return float(fisher_exact(table, alternative="greater").pvalue)

    expected = (exact(found[0]) + exact(found[0] + 1)) / 2
    assert chance_of_share(found, points) == pytest.approx(expected)


def test_no_spikes_are_no_evidence() -> None:
    assert chance_of_share((0, 0), (60, 60)) == 1.0
    assert chance_of_share((0, 9), (60, 60)) == 1.0


def test_a_spike_is_one_also_where_nearly_half_of_all_points_are() -> None:
    experiment = np.where(np.arange(60) % 2, 1000.0, 9.0) + np.arange(60) / 60
    found = rise(experiment, np.arange(60) / 30 + 9.5)
    assert found.spikes == (30, 0)
    assert found.by_spikes < 1e-8


def test_what_lies_on_the_fence_is_no_spike_in_any_unit() -> None:
    experiment, control = np.array([2.0, 3, 3, 4, 10, 10, 10]), np.array([2.0, 2, 3, 3, 3, 3, 4, 4])
    scales = np.geomspace(1e-3, 1e3, 200)
    assert rise(experiment, control).fence == pytest.approx(10)
    assert {rise(experiment * scale, control * scale).spikes for scale in scales} == {(0, 0)}


def test_holm_is_what_holm_wrote() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], [0.25] * 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8], [0.5, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([0.01, 0.01], [0.25, 0.75]) == pytest.approx([0.01 / 0.75, 0.01 / 0.75][:1] * 2)
    assert holm([], []).size == 0


def test_holm_with_unequal_parts_goes_on_with_the_parts_that_are_left() -> None:
    """The second test is held against all of the chance once the first one is done with."""
    assert holm([0.04, 0.006], [0.25, 0.75]) == pytest.approx([0.04, 0.008])


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_is_the_one_that_kayenta_and_r_find_by_search(seed: int) -> None:
    draw = np.random.default_rng(seed)
    experiment, control = draw.lognormal(1, 1, 60), draw.lognormal(0, 1, 50)
    config = CanaryConfig("shop", (MetricConfig("latency"),))
    theirs = (
        judge_kayenta(config, [MetricPair("latency", control, experiment)], Thresholds()).results[0].interval
    )
    found = shift(experiment, control, 0.98)
    assert theirs
    assert (found.lower, found.upper) == pytest.approx((theirs.lower, theirs.upper), abs=0.01)
    assert found.estimate == pytest.approx(theirs.estimate, abs=0.01)


@pytest.mark.parametrize("points", [60, 500])
def test_an_interval_holds_the_true_shift_as_often_as_it_says(points: int) -> None:
    draw = np.random.default_rng(11)
    kept = 0
    for _ in range(400):
        found = shift(draw.normal(13, 2, points), draw.normal(10, 2, points), 0.9)
        kept += found.lower <= 3 <= found.upper
    assert 0.86 <= kept / 400 <= 0.94


@pytest.mark.parametrize("level", [0.02, 0.0025, 1e-4, 1e-6])
def test_the_points_that_are_needed_find_what_must_be_found(level: float) -> None:
    points, away = points_needed(level), norm.ppf(LARGE) * sqrt(2)
    draw = np.random.default_rng(3)
    found = [
        chance_of_ranks(draw.normal(away, 1, points), draw.normal(0, 1, points)) <= level for _ in range(400)
    ]
    assert np.mean(found) >= POWER
    half = points // 2
    assert chance_of_ranks(draw.normal(away, 1, half), draw.normal(0, 1, half)) > level / 100


def test_the_points_that_would_settle_it_do() -> None:
    """Four spikes in 60 points prove nothing; as many in each 60 of those that are asked for do."""
    chance = chance_of_share((4, 0), (60, 60))
    points = points_to_settle(60, chance, 0.005)
    assert chance > 0.005 >= chance_of_share((round(points * 4 / 60), 0), (points, points))


@pytest.mark.parametrize(
    ("experiment", "control", "expected"),
    [
        (12, 10, 1.2),
        (8, 10, 0.8),
        (-8, -10, 1.2),
        (-12, -10, 0.8),
        (0, 0, 1),
        (1, 0, inf),
        (-1, 0, -inf),
        (5, -5, 3),
    ],
)
def test_a_change_is_held_against_the_size_of_the_control(
    experiment: float, control: float, expected: float
) -> None:
    assert relative(experiment, control, abs(experiment) + abs(control)) == pytest.approx(expected)


def test_a_rest_of_rounding_is_no_change() -> None:
    assert relative(0.1 + 0.2 - 0.3, 0.0, 0.6) == 1.0


def resembling(correlation: float, points: int, draw: np.random.Generator) -> Values:
    """Points that each keep so much of the one before."""
    values = draw.normal(size=points)
    for place in range(1, points):
        values[place] = correlation * values[place - 1] + sqrt(1 - correlation**2) * values[place]
    return values


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5])
def test_chance_is_stretched_as_neighbours_resemble_each_other(correlation: float) -> None:
    draw = np.random.default_rng(5)
    pairs = [(resembling(correlation, 600, draw), resembling(correlation, 600, draw)) for _ in range(20)]
    found = np.mean([stretch(*ranks(*pair)) for pair in pairs])
    assert found == pytest.approx((1 + correlation) / (1 - correlation), rel=0.15)


def test_what_moves_both_series_stretches_nothing() -> None:
    draw, load = np.random.default_rng(5), 20 * np.sin(np.linspace(0, 3, 600))
    assert stretch(*ranks(load + draw.normal(size=600), load + draw.normal(size=600))) < 1.2


def test_a_regression_half_way_stretches_nothing() -> None:
    draw = np.random.default_rng(5)
    experiment = draw.normal(size=600)
    experiment[300:] += 5
    assert stretch(*ranks(experiment, draw.normal(size=600))) < 1.2
