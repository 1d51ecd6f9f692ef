"""What is done with series before they are compared: missing values, outliers, figures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.domain.canary import NanStrategy
from tasks.domain.pairs import Values
from tasks.judge.sample import Sample

EXTREMES = (1.0, 99.0)
"""Percentiles between which Kayenta never calls a value an outlier."""
_QUARTILES = (25.0, 75.0)


def without_nan(values: Values, strategy: NanStrategy) -> Values:
    """*values* with the missing ones left out, or as 0; infinite ones stay."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    return values[~missing] if strategy is NanStrategy.REMOVE else np.where(missing, 0.0, values)


def percentile(sample: Sample, percent: float) -> Values:
    """(rows,) By linear interpolation between values.

    Reference: R. J. Hyndman and Y. Fan, Sample Quantiles in Statistical Packages (1996), definition 7.
    """
    place = np.maximum(sample.counts - 1, 0) * percent / 100
    under = np.floor(place)
    lower, upper = (sample.at(np.clip(index, 0, sample.counts - 1)) for index in (under, under + 1))
    with np.errstate(invalid="ignore"):
        return np.asarray(lower + (place - under) * (upper - lower))


def quartile_fences(sample: Sample, factor: npt.ArrayLike) -> tuple[Values, Values]:
    """*factor* interquartile ranges beyond the quartiles.

    Reference: J. W. Tukey, Exploratory Data Analysis (1977), 2D.
    """
    lower, upper = (percentile(sample, percent) for percent in _QUARTILES)
    with np.errstate(invalid="ignore"):
        reach = np.asarray(factor) * (upper - lower)
        return lower - reach, upper + reach


def judge_fences(sample: Sample, factor: npt.ArrayLike) -> tuple[Values, Values]:
    """Kayenta's own: those of `quartile_fences`, but never inside `EXTREMES`."""
    low, high = quartile_fences(sample, factor)
    lowest, highest = (percentile(sample, percent) for percent in EXTREMES)
    return np.minimum(low, lowest), np.maximum(high, highest)


def sigma_fences(sample: Sample, factor: float) -> tuple[Values, Values]:
    """*factor* standard deviations of the population beyond the mean."""
    mean = means(sample)
    reach = factor * np.sqrt(_squares(sample, mean) / sample.counts)
    return mean - reach, mean + reach


def outliers(sample: Sample, fences: tuple[Values, Values]) -> npt.NDArray[np.bool_]:
    """(rows, longest) Which values lie beyond their row's fences; none where a fence is NaN."""
    low, high = (fence[:, None] for fence in fences)
    return np.asarray((sample.values < low) | (sample.values > high))


def means(sample: Sample) -> Values:
    """(rows,) Of each row, in two passes: a constant row's mean is its value. 0 of an empty one."""
    counts = np.maximum(sample.counts, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        first = _sums(sample, sample.values) / counts
        rest = _sums(sample, sample.values - first[:, None]) / counts
        return np.asarray(np.where(np.isfinite(rest), first + rest, first))


def deviations(sample: Sample, mean: Values) -> Values:
    """(rows,) Standard deviation of the sample (n - 1); 0 of fewer than two values."""
    return np.sqrt(_squares(sample, mean) / np.maximum(sample.counts - 1, 1))


def _squares(sample: Sample, mean: Values) -> Values:
    with np.errstate(invalid="ignore", over="ignore"):
        return _sums(sample, (sample.values - mean[:, None]) ** 2)


def _sums(sample: Sample, values: Values) -> Values:
    """(rows,) Value by value, so that how long other rows are changes no last bit."""
    rows, places = np.nonzero(sample.present)
    return np.bincount(rows, values[rows, places], len(values)).astype(np.float64)
