"""The judge `kayenta` judges many pairs at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.domain.canary import CanaryConfig, Direction, MetricConfig, NanStrategy, Thresholds
from tasks.domain.pairs import MetricPair
from tasks.judge import differences, ranks
from tasks.judge.kayenta import judge_kayenta
from tests.rig.plain_judge import classify_plainly

Numbers = Sequence[float]
JUDGE = Thresholds(95, 75)


def pair(control: Numbers, experiment: Numbers) -> MetricPair:
    return MetricPair("m", np.array(control, dtype=float), np.array(experiment, dtype=float))


values = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, 0.5, -1.0, nan]),
    st.integers(-5, 5).map(float),
    st.floats(-1e3, 1e3, allow_nan=False),
    st.floats(0, 1e-4, allow_nan=False),
    st.floats(1e6, 1e6 + 1e-6, allow_nan=False),
)
series = st.lists(values, min_size=1, max_size=12)


def constant(numbers: Numbers) -> bool:
    return len({number for number in numbers if not isnan(number)}) < 2


@settings(max_examples=200, deadline=None)
@given(
    sides=st.lists(st.tuples(series, series), min_size=1, max_size=6),
    direction=st.sampled_from(Direction),
    nan_strategy=st.sampled_from(NanStrategy),
    way=st.sampled_from([("INDEXED", 0), ("FEW", 0), ("FEW", ranks.FEW)]),
)
def test_many_at_once_are_judged_as_the_specification_reads_one_by_one(
    sides: list[tuple[list[float], list[float]]],
    direction: Direction,
    nan_strategy: NanStrategy,
    way: tuple[str, int],
) -> None:
    """To the last bit, whatever ties, scales and lengths stand side by side."""
    replaced = [[0.0 if isnan(number) else number for number in one] for side in sides for one in side]
    metric = MetricConfig("m", groups=("g",), direction=direction, nan=nan_strategy)
    pairs = [pair(*side) for side in sides]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, *way)
        found = judge_kayenta(CanaryConfig("c", (metric,)), pairs, JUDGE, seed=0).results
    for place, (one, result) in enumerate(zip(pairs, found, strict=True)):
        prepared = replaced[2 * place : 2 * place + 2] if nan_strategy == "replace" else sides[place]
        if all(constant(side) for side in prepared):
            continue  # noise
        plain = classify_plainly(metric, one.control, one.experiment)
        assert result.classification == plain.label
        if result.interval:
            expected = (plain.lower, plain.estimate, plain.upper)
            assert (result.interval.lower, result.interval.estimate, result.interval.upper) == expected


@pytest.mark.parametrize("points", [60, 240, 400])
@pytest.mark.parametrize(
    "draw",
    [
        lambda generator, size: generator.lognormal(3, 0.5, size),
        lambda generator, size: generator.poisson(0.2, size).astype(float),
        lambda generator, size: generator.normal(size=size) * 1e-5,
    ],
)
def test_long_series_too(points: int, draw: Callable[[np.random.Generator, int], np.ndarray]) -> None:
    generator = np.random.default_rng(points)
    pairs = [pair(draw(generator, points - place), draw(generator, points) * 1.2) for place in range(3)]
    metric = MetricConfig("m", groups=("g",))
    for one, result in zip(
        pairs, judge_kayenta(CanaryConfig("c", (metric,)), pairs, JUDGE, seed=0).results, strict=True
    ):
        plain = classify_plainly(metric, one.control, one.experiment)
        assert result.interval
        assert (result.interval.lower, result.interval.upper) == (plain.lower, plain.upper)
        assert result.classification == plain.label


def test_how_pairs_are_batched_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise included: each pair draws its own."""
    generator = np.random.default_rng(7)
    pairs = [pair(generator.normal(size=size), generator.normal(size=9)) for size in (3, 50, 7, 20)]
    pairs += [pair([1.0] * 4, [2.0] * size) for size in (4, 30, 5)]
    config = CanaryConfig("c", (MetricConfig("m", groups=("g",)),))
    together = judge_kayenta(config, pairs, JUDGE, seed=5)
    monkeypatch.setattr(differences, "CELLS", 1)
    assert judge_kayenta(config, pairs, JUDGE, seed=5) == together
    assert together.seed == 5
