"""Many series of unlike lengths as the rows of one array, so that they are reckoned with at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.domain.pairs import Values

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sample:
    """Several series, one a row.

    Attributes:
        values: (rows, longest) float64, ascending; the rest of a shorter row is NaN.
        counts: (rows,) How many values each has, as float64.
    """

    values: Values
    counts: Values

    @classmethod
    def of(cls, series: Sequence[Values]) -> Sample:
        """Of series without NaN."""
        counts = np.array([len(one) for one in series], dtype=np.intp)
        present = np.arange(max(counts.max(initial=0), 1)) < counts[:, None]
        values = np.full(present.shape, np.nan)
        values[present] = np.concatenate(series)
        return cls(np.sort(values, axis=1), counts.astype(np.float64))

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(rows, longest) Where there is a value."""
        return np.arange(self.values.shape[1]) < self.counts[:, None]

    @property
    def lowest(self) -> Values:
        """(rows,) NaN of an empty one."""
        return self.values[:, 0]

    @property
    def highest(self) -> Values:
        """(rows,) NaN of an empty one."""
        return self.at(self.counts - 1)

    def at(self, places: Values) -> Values:
        """(rows,) The value at each row's place, 0 the lowest; NaN of an empty row."""
        return self.values[np.arange(len(places)), np.maximum(places, 0).astype(np.intp)]

    def rows(self, which: Rows | npt.NDArray[np.bool_]) -> Sample:
        """Only these rows, no wider than they must be."""
        counts = self.counts[which]
        return Sample(self.values[which, : max(int(counts.max(initial=0)), 1)], counts)

    def without(self, which: npt.NDArray[np.bool_]) -> Sample:
        """Without these values."""
        values = np.sort(np.where(which, np.nan, self.values), axis=1)
        return Sample(values, self.counts - which.sum(axis=1))
