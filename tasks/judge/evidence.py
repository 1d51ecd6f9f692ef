"""What a judge was given, as JSON for the journal, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd


def evidence_of(frame: pd.DataFrame) -> dict[str, Any]:
    """*frame* as JSON: first moment and steps in milliseconds, columns by slot and measure.

    NaN is null; a column that never changes, such as one of zeros, is a single value.
    """
    moments = pd.DatetimeIndex(frame.index).as_unit("ms").asi8
    slots: dict[str, dict[str, Any]] = {}
    for slot, measure in columns_of(frame):
        values = [_plain(value) for value in frame[slot, measure]]
        constant = len(set(values)) == 1
        slots.setdefault(slot, {})[measure] = values[0] if constant else values
    return {"at": [int(step) for step in np.diff(moments, prepend=0)], "slots": slots}


def frame_of(evidence: Mapping[str, Any]) -> pd.DataFrame:
    """The frame that `evidence_of` was given, its moments in whole milliseconds."""
    moments = np.cumsum(np.array(evidence["at"], dtype="int64"))
    at = pd.to_datetime(moments, unit="ms", utc=True).as_unit("ms").rename("at")
    content = {
        (slot, measure): np.array(values if isinstance(values, list) else [values] * len(at), dtype="float64")
        for slot, measures in evidence["slots"].items()
        for measure, values in measures.items()
    }
    columns = pd.MultiIndex.from_tuples(list(content), names=["slot", "measure"])
    return pd.DataFrame(content, index=at, columns=columns)


def _plain(value: float) -> float | int | None:
    if not isfinite(value):
        return None
    return int(value) if value == int(value) else float(value)


def columns_of(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Slot and measure of each column; none where there are no columns at all."""
    if not len(frame.columns):
        return []
    slots, measures = (frame.columns.get_level_values(level) for level in (0, 1))
    return [(str(slot), str(measure)) for slot, measure in zip(slots, measures, strict=True)]
