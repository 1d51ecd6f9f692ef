"""Pair the series of control and experiment by metric and tags, as Kayenta does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.domain.canary import CanaryConfig
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair, Series, Values

Tags = frozenset[tuple[str, str]]


def pair_series(
    config: CanaryConfig, control: Sequence[Series], experiment: Sequence[Series], *, points: int = 0
) -> list[MetricPair]:
    """The pairs of the config's metrics in turn; a metric without series has no data.

    Args:
        points: Values that a series has; a shorter one gets NaN at its end.

    Raises:
        InputError: Tags that don't fit, or a series that is there twice; not retried.
    """
    names = [metric.name for metric in config.metrics]
    control, experiment = (
        [*side, *(Series(name, {}, np.empty(0)) for name in set(names) - {one.name for one in side})]
        for side in (control, experiment)
    )
    return [pair for name in names for pair in pairs_of(name, control, experiment, points=points)]


def pairs_of(
    name: str, control: Sequence[Series], experiment: Sequence[Series], *, points: int = 0
) -> list[MetricPair]:
    """The pairs of one metric: each series with the one of equal tags, or with no data.

    Where one side has no tags and the other has, each tagged series is held against no data at
    all: what the side without tags measured is not used.

    Raises:
        InputError: As `pair_series`, or a side has no series of the metric; not retried.
    """
    theirs, ours = _by_tags(name, "control", control), _by_tags(name, "experiment", experiment)
    if _keys(theirs) != _keys(ours):
        untagged = [side for side in (theirs, ours) if _keys(side) == {()}]
        if not untagged:
            found, expected = sorted(_keys(ours)), sorted(_keys(theirs))
            raise InputError("experiment.tags", found, f"the control's tag keys {expected} for {name!r}")
        untagged[0].clear()
    return [
        pair_one(_at(theirs, name, tags), _at(ours, name, tags), points=points)
        for tags in dict.fromkeys((*theirs, *ours))
    ]


def pair_one(control: Series, experiment: Series, *, points: int = 0) -> MetricPair:
    """Two series that belong together.

    Raises:
        InputError: Without a name, or names or tags differ; not retried.
    """
    for side, one in (("control", control), ("experiment", experiment)):
        if not one.name:
            field = f"{side}.name"
            raise InputError(field, one.name, "a metric's name")
    if control.name != experiment.name:
        raise InputError("experiment.name", experiment.name, f"the control's name {control.name!r}")
    if dict(control.tags) != dict(experiment.tags):
        raise InputError("experiment.tags", dict(experiment.tags), f"the control's tags {dict(control.tags)}")
    theirs, ours = (_padded(one.values, points) for one in (control, experiment))
    return MetricPair(control.name, theirs, ours, control.tags)


def _by_tags(name: str, side: str, series: Sequence[Series]) -> dict[Tags, Series]:
    found: dict[Tags, Series] = {}
    for one in series:
        tags = frozenset(one.tags.items())
        if one.name == name and found.setdefault(tags, one) is not one:
            field = f"{side}.tags"
            raise InputError(field, dict(one.tags), f"them once for {name!r}")
    if not found:
        raise InputError(side, [], f"series of {name!r}")
    return found


def _keys(side: Mapping[Tags, Series]) -> set[tuple[str, ...]]:
    """Which tag keys its series have."""
    return {tuple(sorted(key for key, _ in tags)) for tags in side}


def _at(side: Mapping[Tags, Series], name: str, tags: Tags) -> Series:
    """The series with these tags, or one without data."""
    return side.get(tags) or Series(name, dict(sorted(tags)), np.empty(0))


def _padded(values: Values, points: int) -> Values:
    return np.append(values, np.full(max(points - len(values), 0), np.nan))
