"""From samples to the data frame that every metric source gives."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from tasks.domain.model import Slot
from tasks.metrics.base import DRAWN, ERRORS, LATENCY, MIRRORED, MIRRORED_ERRORS, REQUESTS
from tasks.metrics.counters import Sample

MEASURES = (REQUESTS, ERRORS, DRAWN, MIRRORED, MIRRORED_ERRORS)
_ALL = f"{LATENCY}inf"


def to_frame(samples: Iterable[Sample], slots: Collection[Slot]) -> pd.DataFrame:
    """*samples* as `tasks.metrics.base.MetricSource.fetch` describes them.

    Samples of one slot that end at the same moment, as two proxies give them, are added up.
    """
    cells: dict[tuple[str, str], dict[int, float]] = {
        (str(slot), measure): {} for slot in slots for measure in MEASURES
    }
    for sample in samples:
        counts = zip(MEASURES, _counts(sample), strict=True)
        values = {measure: count for measure, count in counts if count is not None}
        values |= {f"{LATENCY}{bound}": count for bound, count in sample.latency.items()}
        for measure, value in values.items():
            cell = cells.setdefault((str(sample.slot), measure), {})
            cell[sample.at] = cell.get(sample.at, 0.0) + value
    keys = sorted(cells, key=_order)
    columns = pd.MultiIndex.from_tuples(keys, names=["slot", "measure"])
    ends = sorted(set().union(*cells.values()))
    content = {key: [cells[key].get(at, float("nan")) for at in ends] for key in keys}
    at = pd.to_datetime(ends, unit="ms", utc=True).as_unit("ms").rename("at")
    return _fill_latency(pd.DataFrame(content, index=at, columns=columns, dtype="float64"), keys)


def _counts(sample: Sample) -> tuple[int | None, ...]:
    return sample.requests, sample.errors, sample.drawn, sample.mirrored, sample.mirrored_errors


def _order(column: tuple[str, str]) -> tuple[str, float, float]:
    """Slots by name, in each the counts, then the buckets by their bounds."""
    slot, measure = column
    if measure in MEASURES:
        return slot, -1, MEASURES.index(measure)
    return slot, 0, float(measure.removeprefix(LATENCY))


def _fill_latency(frame: pd.DataFrame, keys: Collection[tuple[str, str]]) -> pd.DataFrame:
    """Zeros in the buckets of intervals that were sampled and in which no request ended.

    A bound that Envoy did not have then (its configuration has changed) stays unknown.
    """
    for slot in {slot for slot, measure in keys if measure == _ALL}:
        idle = frame[slot, REQUESTS].notna() & frame[slot, _ALL].isna()
        buckets = [key for key in keys if key[0] == slot and key[1].startswith(LATENCY)]
        frame.loc[idle, buckets] = 0.0
    return frame
