"""Metric pairs: what experiment and control measured, side by side. Needs numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """One metric's values on one side.

    Attributes:
        name: Of the metric, as its config has it.
        tags: What tells this series from others of the same metric and side.
        values: float64, one value a step in order of time, NaN where there is none.
    """

    name: str
    tags: Mapping[str, str]
    values: Values


@dataclass(frozen=True, eq=False)
class MetricPair:
    """One metric's two series.

    Attributes:
        name: Of the metric, as its config has it.
        tags: What tells this pair from others of the same metric.
        control: float64, one value a step in order of time, NaN where there is none.
        experiment: Likewise; the two may differ in length.
    """

    name: str
    control: Values
    experiment: Values
    tags: Mapping[str, str] = field(default_factory=dict)
