"""The davy judge's arithmetic: ranks, spikes, many tests at once, how many points are enough.

Everything here depends on the order of values only, or on ratios of them: a metric's unit
and scale change nothing, and a mirrored metric gives the mirrored answer.

Assumed: when nothing has changed, which of the two series a point stands in is left to chance.
Neighbours in time may resemble each other as far as `stretch` can tell: slower drifts that only one
of the series has, and spikes that come in bursts, make more false alarms than stated here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, lgamma, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tasks.domain.pairs import Values
from tasks.judge.judgement import Interval

EXPECTED = 5
"""How many points off the most common value, and one on it, the shorter series must be due by its
length for the sum of its ranks to be taken as normal: Cochran's rule for expected counts
(Biometrics 10, 1954). With fewer, only spikes are counted."""

SPIKE = 7
"""Median absolute deviations above the median of both series beyond which a point is a spike.
For an even law that is Tukey's far-out fence, the upper quartile and 3 interquartile ranges
(Exploratory Data Analysis, 1977), but half of all points may be spikes without moving it."""

LARGE = 0.9
"""A regression that must not be missed: 9 in 10 pairs of a candidate's and a control's point are worse."""

POWER = 0.8
"""How surely it must be found before not finding one is a pass (Cohen, Statistical Power
Analysis, 1988, section 2.4)."""

ROUNDING = 1e-9
"""Differences of this part of the values themselves are none: arithmetic may differ in the last digits."""

RESEMBLANCE = 0.6
"""The largest correlation of neighbours that is allowed for. With more, not even 60 points that lie
all above the control's would be proof, and whoever looks at them would not understand why."""

THINNED = 120
"""Points a side from which an interval is read; longer series give that many quantiles of theirs.
No label depends on it."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Rise:
    """What speaks for the experiment lying above the control.

    Attributes:
        by_rank: How likely chance alone makes so many points larger (one-sided p-value).
        by_spikes: How likely chance alone gives it so many of the spikes (likewise).
        fence: Where spikes begin.
        spikes: How many the experiment has, and the control.
        steady: Not more than half of all points are equal, so that a spike stands out.
    """

    by_rank: float
    by_spikes: float
    fence: float
    spikes: tuple[int, int]
    steady: bool


def rise(experiment: Values, control: Values) -> Rise:
    """Hold *experiment* against *control*, both finite and not empty; negate both to ask for a fall."""
    pooled = np.concatenate([experiment, control])
    median = np.median(pooled)
    deviation = np.median(np.abs(pooled - median))
    fence = float(median + SPIKE * deviation + ROUNDING * (abs(median) + deviation))
    spikes = int((experiment > fence).sum()), int((control > fence).sum())
    return Rise(
        chance_of_ranks(experiment, control),
        chance_of_share(spikes, (len(experiment), len(control))),
        fence,
        spikes,
        steady=bool(deviation > 0),
    )


def superiority(experiment: Values, control: Values) -> float:
    """P(experiment > control) + P(equal) / 2 over all pairs of points, 0 to 1.

    The common-language effect size (McGraw and Wong, Psychological Bulletin 111, 1992), with ties
    as Vargha and Delaney have them (J. Educational and Behavioral Statistics 25, 2000).
    """
    m, n = len(experiment), len(control)
    ranks, _ = _ranks(np.concatenate([experiment, control]))
    return float(ranks[:m].sum() - m * (m + 1) / 2) / (m * n)


def chance_of_ranks(experiment: Values, control: Values) -> float:
    """The one-sided p-value of Mann and Whitney (Annals of Mathematical Statistics 18, 1947).

    By the normal approximation with ties and continuity corrected (Lehmann, Nonparametrics, 1975,
    section 1.5) and with the variance that `stretch` gives it; 1 where `EXPECTED` does not hold.
    """
    m, n = len(experiment), len(control)
    total = m + n
    ranks, tied = _ranks(np.concatenate([experiment, control]))
    if (total - tied.max() + 1) * min(m, n) < EXPECTED * total:
        return 1.0
    variance = m * n / 12 * (total + 1 - (tied**2 - 1).sum() / (total * (total - 1)))
    variance *= stretch(ranks[:m], ranks[m:])
    distance = float(ranks[:m].sum()) - m * (total + 1) / 2 - 0.5
    return _NORMAL.cdf(-distance / sqrt(variance)) if variance > 0 else 1.0


def stretch(experiment: Values, control: Values) -> float:
    """How many times wider chance spreads when neighbours in time resemble each other, from 1.

    (1 + r) / (1 - r) for a correlation r of neighbours (Bayley and Hammersley, Supplement to the
    J. of the Royal Statistical Society 8, 1946). r is the control's own, so that a regression half
    way hides nothing; or that of the differences at each moment when it is smaller, since
    what moves both series alike favours neither.

    Args:
        experiment: Ranks among all points, in order of time.
        control: Likewise.
    """
    found = _neighbours(control)
    if len(experiment) == len(control):
        found = min(found, _neighbours(experiment - control))
    found = min(max(found, 0.0), RESEMBLANCE)
    return (1 + found) / (1 - found)


def _neighbours(values: Values) -> float:
    """The correlation of each value with the next; its bias after Kendall (Biometrika 41, 1954) taken out."""
    centred = values - values.mean()
    size = float(centred @ centred)
    found = float(centred[1:] @ centred[:-1]) / size if size else 0.0
    return found + (1 + 3 * found) / len(values)


def _ranks(values: Values) -> tuple[Values, Values]:
    """Each value's rank from 1, the mean one where values are equal; and how many equal it."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, "left")
    up_to = np.searchsorted(ordered, values, "right")
    return (below + up_to + 1) / 2, (up_to - below).astype(np.float64)


def chance_of_share(found: tuple[int, int], points: tuple[int, int]) -> float:
    """How likely chance alone deals the first series so many of the points found in both.

    Fisher's exact test, one-sided, with the mid-p correction (Lancaster, JASA 56, 1961), which
    holds its level on average where the exact one is far below it.
    """
    if not found[0]:
        return 1.0
    every, total = sum(found), sum(points)
    ways = _log_ways(total, points[0])
    chances = [
        exp(_log_ways(every, count) + _log_ways(total - every, points[0] - count) - ways)
        for count in range(found[0], min(every, points[0]) + 1)
    ]
    return min(sum(chances) - chances[0] / 2, 1.0)


def _log_ways(total: int, chosen: int) -> float:
    """The logarithm of how many ways there are to choose so many of all."""
    return lgamma(total + 1) - lgamma(chosen + 1) - lgamma(total - chosen + 1)


def holm(chances: npt.ArrayLike, shares: npt.ArrayLike) -> Values:
    """P-values as they are when all tests together may err with a stated chance.

    Holm's step-down method with weights (Scandinavian Journal of Statistics 6, 1979): right
    however the tests depend on each other.

    Args:
        shares: What part of the chance to err each test gets; they add up to 1.
    """
    parts = np.asarray(shares, dtype=np.float64)
    weighted = np.asarray(chances, dtype=np.float64) / parts
    order = np.argsort(weighted)
    still = np.cumsum(parts[order][::-1])[::-1]
    adjusted = np.empty_like(weighted)
    adjusted[order] = np.minimum(np.maximum.accumulate(weighted[order] * still), 1)
    return adjusted


def points_needed(level: float) -> int:
    """Points a side from which a `LARGE` regression is found with `POWER` by a test at *level*.

    Noether's formula for the rank test (JASA 82, 1987, section 3.2), two series of one size.
    """
    normal = _NORMAL.inv_cdf(POWER) - _NORMAL.inv_cdf(level)
    return ceil(normal**2 / (6 * (LARGE - 0.5) ** 2))


def points_to_settle(points: int, chance: float, level: float) -> int:
    """Points a side at which a difference that goes on as it was, now seen by *chance*, passes *level*.

    A test's distance from nothing grows with the root of the points.
    """
    return ceil(points * (_NORMAL.inv_cdf(level) / _NORMAL.inv_cdf(chance)) ** 2)


def relative(experiment: float, control: float, size: float) -> float:
    """The experiment in parts of the control; the change is held against the control's size.

    For a positive control the plain ratio. 1 is no change whatever the signs are, more is a rise;
    without bound where the control is 0.

    Args:
        size: How large the values are that both were computed from: what is less than `ROUNDING` of it is 0.
    """
    change = experiment - control
    if abs(change) <= ROUNDING * size:
        return 1.0
    return 1 + change / abs(control) if abs(control) > ROUNDING * size else change * inf


def shift(experiment: Values, control: Values, confidence: float) -> Interval:
    """How far the experiment lies above the control: Hodges and Lehmann's estimate and bounds.

    The ordered pairwise differences (Hollander and Wolfe, Nonparametric Statistical Methods, 1999,
    sections 4.2 and 4.3), by the normal approximation.
    """
    m, n = len(experiment), len(control)
    differences = np.subtract.outer(_thin(experiment), _thin(control)).ravel()
    spread = sqrt((m + n + 1) / (12 * m * n))
    share = 0.5 - _NORMAL.inv_cdf((1 + confidence) / 2) * spread
    rank = max(int(share * len(differences)), 1)
    ranks = (rank - 1, len(differences) - rank)
    middle = ((len(differences) - 1) // 2, len(differences) // 2)
    ordered = np.partition(differences, (*ranks, *middle))
    lower, upper = (float(ordered[rank]) for rank in ranks)
    estimate = float(ordered[list(middle)].mean())
    return Interval(lower, estimate, upper, confidence)


def _thin(values: Values) -> Values:
    return values if len(values) <= THINNED else np.quantile(values, (np.arange(THINNED) + 0.5) / THINNED)
