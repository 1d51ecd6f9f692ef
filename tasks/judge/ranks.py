"""The rank statistic of Mann and Whitney for many pairs of series at once, at any shift between them.

References: H. B. Mann and D. R. Whitney, On a Test of Whether one of Two Random Variables is
Stochastically Larger than the Other (1947); for ties E. L. Lehmann, Nonparametrics (1975), 1.2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.domain.pairs import Values
from tasks.judge.sample import Rows, Sample

INDEXED = 2**16
"""Up to so many differences a pair has them sorted, which is faster than to count for each shift."""
CELLS = 2**22
"""Numbers that an array may hold; beyond, differences are not sorted either."""
FEW = 64
"""With fewer rows than this, one after the other is faster than all at once."""
_SLACK = 2.0**-49
"""More than what rounding can do to ``x - shift`` and to ``x - y``, by the size of the largest value."""


class Statistic:
    """How far the ranks of each *x* lie above those of its *y*, in standard deviations."""

    def __init__(self, x: Sample, y: Sample) -> None:
        self._x, self._y = x, y
        self.lowest, self.highest = x.lowest - y.highest, x.highest - y.lowest
        self._pairs = x.counts * y.counts
        self._ties = _ties(x.values) + _ties(y.values)
        self._slack = self._slacks()
        rows, width = len(x.counts), x.values.shape[1] * y.values.shape[1]
        indexed = width <= INDEXED and rows * width <= CELLS
        self._sorted = self._differences() if indexed else np.empty((rows, 0))

    def _slacks(self) -> Values:
        """Less than this, rounding could matter. Infinite where it could even make unlike values of *x* equal."""
        x, y = self._x, self._y
        slack = _SLACK * np.abs((x.lowest, x.highest, y.lowest, y.highest)).max(axis=0)
        steps = np.diff(x.values, axis=1)
        nearest = np.min(steps, axis=1, initial=np.inf, where=steps > 0)
        return np.where(nearest > slack, slack, np.inf)

    def _differences(self) -> Values:
        """All of each row, ascending."""
        found = (self._x.values[:, :, None] - self._y.values[:, None, :]).reshape(len(self._pairs), -1)
        found.sort(axis=1)
        return found

    def at(self, rows: Rows, shift: Values) -> Values:
        """The statistic of these rows, each *x* less its *shift*; NaN where all values are equal then.

        Ties between *x* and *y* at a shift are rare: only where there may be some are all values ranked.
        """
        look = self._look_up if self._sorted.shape[1] else self._search
        above, clear = look(rows, shift)
        found = self._standardised(rows, above - self._pairs[rows] / 2, self._ties[rows])
        near = np.flatnonzero(~clear)
        if near.size:
            found[near] = self.counted(rows[near], shift[near])
        return found

    def _look_up(self, rows: Rows, shift: Values) -> tuple[Values, npt.NDArray[np.bool_]]:
        """How many differences are above each shift, and whether none is near it."""
        width, slack = self._sorted.shape[1], self._slack[rows]
        below = self._below(rows, shift - slack)
        after = self._sorted[rows, np.minimum(below, width - 1)]
        return self._pairs[rows] - below, (below == width) | ~(after <= shift + slack)

    def _below(self, rows: Rows, bounds: Values) -> Rows:
        """How many differences of each row are below its bound; of many rows at once by bisection."""
        if len(rows) < FEW:
            found = (self._sorted[row].searchsorted(bound) for row, bound in zip(rows, bounds, strict=True))
            return np.fromiter(found, np.intp, len(rows))
        width, flat = self._sorted.shape[1], self._sorted.ravel()
        below, start = np.zeros(len(rows), dtype=np.intp), rows * width - 1
        for power in range(width.bit_length() - 1, -1, -1):
            ahead = below + (1 << power)
            inside = ahead <= width
            inside &= flat.take(start + np.where(inside, ahead, 1)) < bounds
            below = np.where(inside, ahead, below)
        return below

    def _search(self, rows: Rows, shift: Values) -> tuple[Values, npt.NDArray[np.bool_]]:
        """How often a value of *x* is above one of *y*, and whether none is equal to one; row by row."""
        above, clear = np.empty(len(rows)), np.isfinite(self._slack[rows])
        for number, (row, by) in enumerate(zip(rows, shift, strict=True)):
            x = self._x.values[row, : int(self._x.counts[row])] - by
            y = self._y.values[row, : int(self._y.counts[row])]
            places = y.searchsorted(x)
            above[number] = places.sum()
            clear[number] &= not (y.take(places, mode="clip") == x).any()
        return above, clear

    def counted(self, rows: Rows, shift: Values) -> Values:
        """The statistic by ranking all values, ties by exact equality."""
        x, y = self._x.values[rows] - shift[:, None], self._y.values[rows]
        ranks, ties = rank_sums(x, y)
        m = self._x.counts[rows]
        return self._standardised(rows, ranks - m * (m + 1) / 2 - self._pairs[rows] / 2, ties)

    def _standardised(self, rows: Rows, surplus: Values, ties: Values) -> Values:
        """With the correction for continuity."""
        total = self._x.counts[rows] + self._y.counts[rows]
        variance = self._pairs[rows] / 12 * ((total + 1) - ties / (total * (total - 1)))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((surplus - np.sign(surplus) / 2) / np.sqrt(variance))


def rank_sums(x: Values, y: Values) -> tuple[Values, Values]:
    """Sum of the midranks of each row of *x* among *x* and *y*, and the sum of t^3 - t over ties of t."""
    pooled = np.concatenate((x, y), axis=1)
    order = np.argsort(pooled, axis=1, kind="stable")
    pooled = np.take_along_axis(pooled, order, axis=1)
    rows, width = pooled.shape
    starts, sizes = _runs(pooled)
    ours = np.add.reduceat(((order < x.shape[1]) & ~np.isnan(pooled)).ravel(), starts, dtype=np.float64)
    row = starts // width
    midranks = starts - row * width + (sizes + 1) / 2
    return _by_row(row, ours * midranks, rows), _by_row(row, sizes**3 - sizes, rows)


def _ties(values: Values) -> Values:
    """Sum of t^3 - t over the ties of t in each ascending row."""
    starts, sizes = _runs(values)
    return _by_row(starts // values.shape[1], sizes**3 - sizes, len(values))


def _by_row(row: Rows, summands: Values, rows: int) -> Values:
    return np.bincount(row, summands, rows).astype(np.float64)


def _runs(values: Values) -> tuple[Rows, Values]:
    """Where runs of equal values begin in the rows one after the other, and how long they are."""
    first = np.ones(values.shape, dtype=np.bool_)
    np.not_equal(values[:, 1:], values[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    return starts, np.diff(starts, append=values.size).astype(np.float64)
