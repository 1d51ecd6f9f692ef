"""One measured figure, what it is held against, and the table of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        name: The benchmark that it belongs to.
        what: What was measured, and of how many runs it is the median.
        value: In *unit*, as the limit is.
        against: What the limit is.
    """

    name: str
    what: str
    value: float
    limit: float
    unit: str
    against: str

    @property
    def ratio(self) -> float | None:
        """Value by limit; None for one whose limit is 0 and that misses it."""
        if self.limit:
            return self.value / self.limit
        return None if self.value else 0.0

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "ratio": self.ratio}

    def to_row(self) -> tuple[str, ...]:
        """The cells of the table."""
        ratio = "over" if self.ratio is None else f"{self.ratio:.2f}"
        value, limit = (f"{number:.4g} {self.unit}" for number in (self.value, self.limit))
        return self.name, self.what, value, f"{limit}, {self.against}", ratio


def table(figures: Sequence[Figure]) -> Table:
    """All figures for people."""
    rows = Table(header_style="dim", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("figure", "of", "value", "limit", "ratio"):
        rows.add_column(column, justify="right" if column in ("value", "ratio") else "left", no_wrap=True)
    for figure in figures:
        rows.add_row(*figure.to_row())
    return rows


def percentile_99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds."""
    return quantiles(values, n=100, method="inclusive")[-1]
