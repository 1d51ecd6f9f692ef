"""Series of both sides become pairs by metric and tags."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.domain.canary import CanaryConfig, MetricConfig
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair, Series
from tasks.judge.pairing import pair_one, pair_series

CONFIG = CanaryConfig("c", (MetricConfig("cpu"), MetricConfig("errors")))
A, B, C = ({"host": name} for name in "abc")


def series(name: str, tags: dict[str, str], *values: float) -> Series:
    return Series(name, tags, np.array(values))


def told(pairs: list[MetricPair]) -> list[tuple[str, dict[str, str], list[float], list[float]]]:
    return [(pair.name, dict(pair.tags), pair.control.tolist(), pair.experiment.tolist()) for pair in pairs]


def test_equal_tags_pair_and_what_has_no_partner_pairs_with_nothing() -> None:
    control = [series("cpu", A, 1), series("cpu", B, 2), series("errors", {}, 3)]
    experiment = [series("errors", {}, 30), series("cpu", C, 20), series("cpu", A, 10)]
    assert told(pair_series(CONFIG, control, experiment)) == [
        ("cpu", A, [1], [10]),
        ("cpu", B, [2], []),
        ("cpu", C, [], [20]),
        ("errors", {}, [3], [30]),
    ]


def test_a_side_without_tags_is_only_a_template_for_the_other() -> None:
    control, experiment = [series("cpu", {}, 9)], [series("cpu", A, 1), series("cpu", B, 2)]
    assert told(pair_series(CONFIG, control, experiment))[:2] == [("cpu", A, [], [1]), ("cpu", B, [], [2])]
    assert told(pair_series(CONFIG, experiment, control))[:2] == [("cpu", A, [1], []), ("cpu", B, [2], [])]


def test_a_metric_without_series_has_no_data() -> None:
    assert told(pair_series(CONFIG, [], [series("errors", A, 1)])) == [
        ("cpu", {}, [], []),
        ("errors", A, [], [1]),
    ]


def test_short_series_get_missing_values_at_their_end() -> None:
    (pair, empty) = pair_series(CONFIG, [series("cpu", {}, 1, 2)], [series("cpu", {}, 1, 2, 3, 4)], points=3)
    assert np.array_equal(pair.control, [1, 2, np.nan], equal_nan=True)
    assert pair.experiment.tolist() == [1, 2, 3, 4]
    assert np.isnan(empty.control).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("control", "experiment", "said"),
    [
        ([series("cpu", A)], [series("cpu", {"zone": "a"})], "experiment.tags: found [('zone',)], expected"),
        (
            [series("cpu", A), series("cpu", A)],
            [series("cpu", A)],
            "control.tags: found {'host': 'a'}, expected them once",
        ),
        ([series("cpu", A), series("cpu", {})], [series("cpu", A)], "experiment.tags: found [('host',)]"),
    ],
)
def test_tags_that_do_not_fit_are_refused(control: list[Series], experiment: list[Series], said: str) -> None:
    with pytest.raises(InputError) as refused:
        pair_series(CONFIG, control, experiment)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("control", "experiment", "field"),
    [
        (series("", {}), series("cpu", {}), "control.name"),
        (series("cpu", {}), series("", {}), "experiment.name"),
        (series("cpu", {}), series("errors", {}), "experiment.name"),
        (series("cpu", A), series("cpu", B), "experiment.tags"),
    ],
)
def test_two_series_that_do_not_belong_together_are_refused(
    control: Series, experiment: Series, field: str
) -> None:
    with pytest.raises(InputError) as refused:
        pair_one(control, experiment)
    assert refused.value.field == field
