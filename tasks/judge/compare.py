"""How experiment and control differ: the shift between them with its interval, and effect sizes.

The interval is the one of Hodges and Lehmann, Estimates of Location Based on Rank Tests (1963),
always by the normal approximation. It takes the points of a series as independent of each other,
and the two series as of one shape, moved against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tasks.domain.pairs import Values
from tasks.judge.ranks import Statistic, rank_sums
from tasks.judge.sample import Rows, Sample
from tasks.judge.zeros import find_zeros


@dataclass(frozen=True, eq=False)
class Shifts:
    """From each control to its experiment, in the metric's unit; NaN where all values are equal once shifted."""

    lower: Values
    estimate: Values
    upper: Values


def shifts(experiment: Sample, control: Sample, confidence: float) -> Shifts:
    """The shift between each two rows, none of them empty or with an infinite value.

    Where values are many and equal, what is found may lie off by `zeros.TOLERANCE`, and *lower*
    above *upper*.

    Args:
        confidence: Of the interval, 0 to 1.
    """
    normal = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    with np.errstate(over="ignore", invalid="ignore"):  # differences beyond what a number holds
        lower, estimate, upper = _where(Statistic(experiment, control), (normal, 0.0, -normal))
    return Shifts(lower, estimate, upper)


def _where(statistic: Statistic, quantiles: tuple[float, ...]) -> Values:
    """(quantiles, rows) The shift at which each row's statistic is each quantile.

    A bound of the interval is an end of the range where the statistic never gets so far; the
    estimate (quantile 0) is always searched for.
    """
    count, many = len(statistic.lowest), len(quantiles)
    rows: Rows = np.arange(count)
    quantile = np.repeat(quantiles, count)
    ends: Values = np.stack((np.tile(statistic.lowest, many), np.tile(statistic.highest, many)))
    at_ends = np.stack([np.tile(statistic.counted(rows, end[:count]), many) for end in ends]) - quantile
    found = np.where(at_ends[0] <= 0, ends[0], ends[1])
    searched = np.flatnonzero((quantile == 0) | ((at_ends[0] > 0) & (at_ends[1] < 0)))

    def less_quantile(numbers: Rows, shift: Values) -> Values:
        these = searched[numbers]
        return np.asarray(statistic.at(these % count, shift) - quantile[these])

    found[searched] = find_zeros(less_quantile, ends[:, searched], at_ends[:, searched])
    found[np.isnan(at_ends).any(axis=0)] = np.nan
    return np.asarray(found.reshape(many, count))


def mean_ratio(experiment: Values, control: Values) -> Values:
    """Means of the experiment by those of the control; NaN where either is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where((experiment == 0) | (control == 0), np.nan, experiment / control)


def common_language(experiment: Sample, control: Sample) -> Values:
    """How likely a value of the experiment is above one of the control, ties counting half: 0.5 is neutral.

    Reference: K. O. McGraw and S. P. Wong, A Common Language Effect Size Statistic (1992).
    """
    ranks, _ = rank_sums(experiment.values, control.values)
    m, n = experiment.counts, control.counts
    return np.asarray((2 * ranks - m * (m + 1)) / (2 * m * n))


def cohens_d(experiment: Values, control: Values) -> float:
    """The difference of two series' means in standard deviations, without its sign.

    Reference: J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), 2.5.
    """
    m, n = len(experiment), len(control)
    within = (m - 1) * np.var(experiment, ddof=1) + (n - 1) * np.var(control, ddof=1)
    return float(abs(np.mean(experiment) - np.mean(control)) / np.sqrt(within / (m + n - 2)))
