"""Prepare and compare pairs of series as Kayenta does, many at once.

Pairs of like size are taken together, so many that no array holds more than `CELLS` numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import isnan, nan

import numpy as np
import numpy.typing as npt

from tasks.domain.canary import EffectMeasure, MetricConfig, OutlierStrategy
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.clean import deviations, judge_fences, means, outliers, without_nan
from tasks.judge.compare import common_language, mean_ratio, shifts
from tasks.judge.judgement import Stats
from tasks.judge.ranks import CELLS, INDEXED
from tasks.judge.sample import Rows, Sample

NOISE = 1e-5
"""Standard deviation of the noise that two constants get, as a part of their value."""
NO_STATS = Stats()
COUNTED = 12
"""Numbers that ranking a value takes: three statistics side by side, each some arrays."""


class Case(Enum):
    """What a pair of prepared series is like."""

    EMPTY = auto()
    IDENTICAL = auto()
    ONE_VALUE = auto()
    INFINITE = auto()
    ALL_TIED = auto()
    COMPARED = auto()


@dataclass(frozen=True)
class Difference:
    """What one pair differs by, in the metric's unit.

    Attributes:
        ratio: Of the means; 1 without a comparison, NaN where a mean is 0.
        effect: In the config's measure.
        lower: Of the shift's interval, as *estimate* and *upper*; NaN unless the case is compared.
    """

    case: Case
    experiment: Stats = NO_STATS
    control: Stats = NO_STATS
    ratio: float = 1.0
    effect: float = 1.0
    lower: float = nan
    estimate: float = nan
    upper: float = nan


def differences(
    pairs: Sequence[MetricPair], metrics: Sequence[MetricConfig], confidence: float, *, seed: int
) -> list[Difference]:
    """What each pair differs by.

    Args:
        metrics: One for each pair.
        confidence: Of the shift's interval, 0 to 1.
        seed: Of the noise; each pair draws from a generator of its own, by its place.
    """
    found: dict[int, Difference] = {}
    for places in _batches(pairs):
        batch = _Batch([pairs[place] for place in places], [metrics[place] for place in places])
        batch.blur([(seed, place) for place in places])
        found |= zip(places, batch.compare(confidence), strict=True)
    return [found[place] for place in range(len(pairs))]


def _batches(pairs: Sequence[MetricPair]) -> Iterator[list[int]]:
    """Places of pairs of like size."""
    sizes = [(max(len(pair.experiment), 1), max(len(pair.control), 1)) for pair in pairs]
    batch: list[int] = []
    widths = (1, 1)
    for place in sorted(range(len(pairs)), key=lambda place: max(sizes[place])):
        wider = max(widths[0], sizes[place][0]), max(widths[1], sizes[place][1])
        if batch and (len(batch) + 1) * _cells(*wider) > CELLS:
            yield batch
            batch, wider = [], sizes[place]
        batch.append(place)
        widths = wider
    if batch:
        yield batch


def _cells(experiment: int, control: int) -> int:
    """Numbers of the largest array that comparing one pair takes."""
    indexed = experiment * control <= INDEXED
    return experiment * control if indexed else COUNTED * (experiment + control)


class _Batch:
    """Prepared pairs, and what they differ by."""

    def __init__(self, pairs: Sequence[MetricPair], metrics: Sequence[MetricConfig]) -> None:
        self._metrics = metrics
        self._x = _prepared([pair.experiment for pair in pairs], metrics)
        self._y = _prepared([pair.control for pair in pairs], metrics)
        self._stats = _stats_of(self._x), _stats_of(self._y)

    def blur(self, seeds: Sequence[tuple[int, int]]) -> None:
        """Give noise to both sides of pairs of two unlike constants."""
        cases = self._cases()
        flat = (self._x.lowest == self._x.highest) & (self._y.lowest == self._y.highest)
        for row in np.flatnonzero(flat & (cases == Case.COMPARED)).tolist():
            generator = np.random.default_rng(seeds[row])
            for side in (self._x, self._y):
                count = int(side.counts[row])
                values = side.values[row, :count]
                side.values[row, :count] = np.sort(noisy(values, NOISE * values, generator))

    def compare(self, confidence: float) -> Iterator[Difference]:
        """In the order of the pairs."""
        cases = self._cases()
        rows = np.flatnonzero(cases == Case.COMPARED)
        figures = np.full((5, len(cases)), nan)
        figures[0] = mean_ratio(means(self._x), means(self._y))
        figures[1] = self._effects(figures[0], rows)
        if rows.size:
            found = shifts(self._x.rows(rows), self._y.rows(rows), confidence)
            figures[2:, rows] = found.lower, found.estimate, found.upper
        for case, experiment, control, numbers in zip(cases, *self._stats, figures.T.tolist(), strict=True):
            if case is Case.COMPARED and any(map(isnan, numbers[2:])):
                yield Difference(Case.ALL_TIED, experiment, control, nan, nan)
            elif case in (Case.COMPARED, Case.INFINITE):
                yield Difference(case, experiment, control, *numbers)
            else:
                yield Difference(case, experiment, control)

    def _effects(self, ratio: Values, rows: Rows) -> Values:
        """In each metric's own measure."""
        asked = [row for row in rows if self._metrics[row].effect.measure is EffectMeasure.CLES]
        effects = ratio.copy()
        if asked:
            which = np.array(asked)
            effects[which] = common_language(self._x.rows(which), self._y.rows(which))
        return effects

    def _cases(self) -> npt.NDArray[np.object_]:
        """(rows,) Where several hold, the last of those below."""
        x, y = self._x, self._y
        width = min(x.values.shape[1], y.values.shape[1])
        ours, theirs = x.values[:, :width], y.values[:, :width]
        same = ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(axis=1) & (x.counts == y.counts)
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite((x.highest - y.lowest) - (x.lowest - y.highest))
        one = (x.lowest == y.highest) & (x.highest == y.lowest)
        empty = (x.counts == 0) | (y.counts == 0)
        cases = np.full(len(x.counts), Case.COMPARED)
        for holds, case in (
            (~finite, Case.INFINITE),
            (one, Case.ONE_VALUE),
            (same, Case.IDENTICAL),
            (empty, Case.EMPTY),
        ):
            cases[holds] = case
        return cases


def noisy(values: Values, deviation: Values | float, generator: np.random.Generator) -> Values:
    """*values* with Gaussian noise of this standard deviation."""
    return values + deviation * generator.standard_normal(len(values))


def _prepared(series: Sequence[Values], metrics: Sequence[MetricConfig]) -> Sample:
    """Missing values first, then outliers."""
    sample = Sample.of([without_nan(one, metric.nan) for one, metric in zip(series, metrics, strict=True)])
    chosen = np.array([metric.outliers is OutlierStrategy.REMOVE for metric in metrics])
    if not chosen.any():
        return sample
    factors = np.array([metric.outlier_factor for metric in metrics])
    return sample.without(outliers(sample, judge_fences(sample, factors)) & chosen[:, None])


def _stats_of(sample: Sample) -> list[Stats]:
    """All 0 where there is nothing."""
    mean = means(sample)
    figures = np.stack((sample.lowest, sample.highest, mean, deviations(sample, mean), sample.counts))
    return [
        Stats(low, high, middle, std, int(count)) if count else NO_STATS
        for low, high, middle, std, count in figures.T.tolist()
    ]
