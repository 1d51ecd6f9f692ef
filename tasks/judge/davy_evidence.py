"""What the davy judge sees of one metric: its points made ready, and both questions asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from tasks.domain.canary import Direction, EffectMeasure, MetricConfig, NanStrategy, OutlierStrategy
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.clean import without_nan
from tasks.judge.davy_statistics import ROUNDING, Rise, relative, rise, shift, superiority
from tasks.judge.judgement import Classification, Interval, Stats

INFINITE = 10
"""Times the largest finite size that an infinite value is taken to be: ranks only need it to be larger."""

CONFIDENCE = 0.98
"""Of the shift that is shown: Kayenta's."""


@dataclass(frozen=True)
class Change:
    """From control to experiment.

    Attributes:
        of: ``mean`` or ``median``.
        effect: In the measure that the config asks for.
    """

    of: str
    control: float
    experiment: float
    effect: float


@dataclass(frozen=True)
class Side:
    """One way for a metric to get worse: High or Low.

    Attributes:
        rise: Of the experiment over the control; of both negated where the side is Low.
        change: The one that says most.
        harmful: It is one that the config does not allow.
        critical: Likewise, of a critical size.
    """

    label: Classification
    rise: Rise
    change: Change
    harmful: bool
    critical: bool


@dataclass(frozen=True, eq=False)
class Evidence:
    """One pair of series, made ready.

    Attributes:
        sides: Those that the config's direction asks about; empty where a series has no points.
        infinite: How many infinite values the experiment has, and the control.
        effect: As the config measures it; None where there is none.
        unable: Why nothing could be computed, in words.
    """

    metric: MetricConfig
    tags: Mapping[str, str] = field(default_factory=dict)
    experiment: Stats = field(default_factory=Stats)
    control: Stats = field(default_factory=Stats)
    infinite: tuple[int, int] = (0, 0)
    sides: tuple[Side, ...] = ()
    ratio: float | None = None
    effect: float | None = None
    interval: Interval | None = None
    unable: str = ""


def look(metric: MetricConfig, pair: MetricPair) -> Evidence:
    """Everything that is to be known of *pair* alone; what cannot be computed is told in `unable`."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return _look(metric, pair)
    except (ValueError, TypeError, ArithmeticError) as error:
        return Evidence(metric, pair.tags, unable=str(error))


def _look(metric: MetricConfig, pair: MetricPair) -> Evidence:
    experiment, control = _prepare(pair.experiment, pair.control, metric)
    infinite = int(np.isinf(experiment).sum()), int(np.isinf(control).sum())
    stats = _stats(experiment), _stats(control)
    if not (experiment.size and control.size):
        return Evidence(metric, pair.tags, *stats)
    interval = None if any(infinite) else shift(experiment, control, CONFIDENCE)
    experiment, control = _bounded(experiment, control)
    changes = _changes(experiment, control, metric.effect.measure)
    mean = changes[0]
    return Evidence(
        metric,
        pair.tags,
        *stats,
        infinite,
        _sides(metric, experiment, control, changes),
        mean.experiment / mean.control if mean.control and not any(infinite) else None,
        mean.effect if isfinite(mean.effect) and not any(infinite) else None,
        interval,
    )


def _changes(experiment: Values, control: Values, measure: EffectMeasure) -> tuple[Change, ...]:
    """Told of the mean and of the median: neither one's outliers may hide the other."""
    above = superiority(experiment, control)
    changes = []
    for name, middle in (("mean", np.mean), ("median", np.median)):
        before, after = float(middle(control)), float(middle(experiment))
        size = float(middle(np.abs(control)) + middle(np.abs(experiment)))
        effect = relative(after, before, size) if measure is EffectMeasure.MEAN_RATIO else above
        changes.append(Change(name, before, after, effect))
    return tuple(changes)


def _sides(
    metric: MetricConfig, experiment: Values, control: Values, changes: tuple[Change, ...]
) -> tuple[Side, ...]:
    size, neutral = metric.effect, metric.effect.measure.neutral
    sides = []
    if metric.direction is not Direction.DECREASE:
        most = max(changes, key=lambda change: change.effect)
        harmful, critical = (
            most.effect > neutral + ROUNDING and most.effect >= bound - ROUNDING
            for bound in (size.allowed_increase, size.critical_increase)
        )
        sides.append(Side(Classification.HIGH, rise(experiment, control), most, harmful, critical))
    if metric.direction is not Direction.INCREASE:
        least = min(changes, key=lambda change: change.effect)
        harmful, critical = (
            least.effect < neutral - ROUNDING and least.effect <= bound + ROUNDING
            for bound in (size.allowed_decrease, size.critical_decrease)
        )
        sides.append(Side(Classification.LOW, rise(-experiment, -control), least, harmful, critical))
    return tuple(sides)


def _prepare(experiment: Values, control: Values, metric: MetricConfig) -> tuple[Values, Values]:
    """Gaps and outliers as the config wants them; a metric that nobody measured stays empty.

    Raises:
        ValueError: A series is not one row of numbers; not retried.
    """
    series = [np.asarray(values, dtype=np.float64) for values in (experiment, control)]
    if any(values.ndim != 1 for values in series):
        msg = f"series: found {[values.ndim for values in series]} dimensions, expected 1"
        raise ValueError(msg)
    measured = any(not np.isnan(values).all() for values in series)
    series = [without_nan(values, metric.nan if measured else NanStrategy.REMOVE) for values in series]
    if metric.outliers is OutlierStrategy.REMOVE:
        series = [_without_outliers(values, metric.outlier_factor) for values in series]
    return series[0], series[1]


def _without_outliers(values: Values, factor: float) -> Values:
    """Kayenta's fences: beyond the quartiles by *factor* ranges, and beyond the outer percents."""
    if not np.isfinite(values).all() or not values.size:
        return values
    lowest, first, third, highest = np.percentile(values, [1, 25, 75, 99]).tolist()
    reach = factor * (third - first) * (1 + ROUNDING)
    inside = (values >= min(lowest, first - reach)) & (values <= max(highest, third + reach))
    return np.asarray(values[inside])


def _bounded(experiment: Values, control: Values) -> tuple[Values, Values]:
    """With finite numbers for infinite ones; see `INFINITE`."""
    sizes = np.abs(np.concatenate([experiment, control]))
    largest = INFINITE * float(sizes[np.isfinite(sizes)].max(initial=0.0)) or 1.0
    return np.clip(experiment, -largest, largest), np.clip(control, -largest, largest)


def _stats(values: Values) -> Stats:
    """Of the finite values; all are counted."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Stats(count=values.size)
    std = float(finite.std(ddof=1)) if finite.size > 1 else 0.0
    return Stats(float(finite.min()), float(finite.max()), float(finite.mean()), std, values.size)
