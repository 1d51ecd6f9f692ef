"""From recorded counts to what is drawn and replayed: metrics over time, and distributions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from tasks.domain.pairs import Values
from tasks.judge.evidence import columns_of
from tasks.judge.limits import quantile

DRAWABLE = ("error_rate", "latency_p50", "latency_p90", "latency_p95", "latency_p99", "request_rate")
"""The metrics that counts give at every moment."""
POINTS = 60
"""A curve is drawn from about so many points; more are put together."""
GAP = 2.5
"""Points that are further apart than so many usual distances have a gap between them."""
SECONDS = "seconds"
"""Length of a sampling interval; NaN for a frame's first one, whose beginning is not known."""
_BUCKET = "le:"


class Role(StrEnum):
    """What a revision is in a release."""

    NEW = "new"
    BASELINE = "baseline"
    OLD = "old"


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric over time.

    Attributes:
        times: The end of each interval, aware UTC, growing.
        values: In the metric's unit, one for each moment, NaN where it is not known.
    """

    times: pd.DatetimeIndex
    values: Values


@dataclass(frozen=True, eq=False)
class Spread:
    """How latencies were spread.

    Attributes:
        bounds: Upper bounds of the buckets, growing, in milliseconds; the last one is infinite.
        percent: Of requests in each bucket.
    """

    bounds: Values
    percent: Values


def counts_of(frame: pd.DataFrame, slots: Iterable[str]) -> pd.DataFrame:
    """What *slots* did together: measures as columns, with `SECONDS`; empty without any of them."""
    wanted = set(slots)
    columns = [column for column in columns_of(frame) if column[0] in wanted]
    if not columns or frame.empty:
        return pd.DataFrame()
    counts = frame[columns].T.groupby(level=1).sum(min_count=1).T
    counts[SECONDS] = pd.Series(frame.index, frame.index).diff().dt.total_seconds()
    return counts


def join(frames: Iterable[pd.DataFrame], roles: Mapping[str, Role]) -> dict[Role, pd.DataFrame]:
    """The counts of each role over all *frames*; where they overlap, the newest one speaks.

    Args:
        roles: By slot.
    """
    joined: dict[Role, pd.DataFrame] = {}
    for frame in sorted((f for f in frames if len(f)), key=lambda f: f.index[-1], reverse=True):
        for role in Role:
            counts = counts_of(frame, (slot for slot, its in roles.items() if its is role))
            if counts.empty:
                continue
            later = joined.get(role)
            if later is not None:
                counts = pd.concat([counts[counts.index < later.index[0]], later])
            joined[role] = counts
    return joined


def curves_of(counts: Mapping[Role, pd.DataFrame], name: str) -> dict[Role, Curve]:
    """Metric *name* of each role over time, in at most about `POINTS` points; gaps stay gaps."""
    ends = [moment for its in counts.values() for moment in (its.index[0], its.index[-1])]
    if not ends:
        return {}
    width = max(pd.Timedelta(seconds=1), (max(ends) - min(ends)) / POINTS).ceil("s")
    curves = {}
    for role, its in counts.items():
        known = its.dropna(subset=[SECONDS]) if name == "request_rate" else its
        bins = pd.DatetimeIndex(known.index).ceil(width)
        values = values_of(known.groupby(bins).sum(min_count=1), name)
        if np.isfinite(values).any():
            last = known.index.to_series().groupby(bins).max().to_numpy()
            holes = np.flatnonzero(np.diff(last) > GAP * width) + 1
            times = pd.DatetimeIndex(np.insert(last, holes, last[holes]), tz="UTC")
            curves[role] = Curve(times, np.insert(values, holes, np.nan))
    return curves


def values_of(counts: pd.DataFrame, name: str) -> Values:
    """Metric *name* in each row of *counts*, as `counts_of` gives them; NaN where it is not known."""
    unknown = np.full(len(counts), np.nan)
    if name.startswith("latency_p"):
        return _latencies(counts, int(name.removeprefix("latency_p")) / 100)
    over, under = ("requests", SECONDS) if name == "request_rate" else ("errors", "requests")
    if not {over, under} <= set(counts):
        return unknown
    factor = 1 if name == "request_rate" else 100
    part, whole = (counts[column].to_numpy(dtype="float64") for column in (over, under))
    np.divide(factor * part, whole, out=unknown, where=whole > 0)
    return unknown


def spread_of(counts: pd.DataFrame) -> Spread | None:
    """How the latencies of all rows were spread; None without any."""
    bounds, cumulative = _buckets(counts)
    if not len(bounds):
        return None
    inside = np.diff(np.nansum(cumulative, axis=0), prepend=0).clip(min=0)
    return Spread(bounds, 100 * inside / inside.sum()) if inside.sum() else None


def _latencies(counts: pd.DataFrame, q: float) -> Values:
    """The quantile in each row; bounds that a row does not have are left out."""
    bounds, cumulative = _buckets(counts)
    found = np.full(len(counts), np.nan)
    for row, at_most in enumerate(cumulative):
        known = np.isfinite(at_most)
        if known.sum() > 1 and known[-1] and at_most[-1] > 0:
            found[row] = quantile(bounds[known], at_most[known], q)[0]
    return found


def _buckets(counts: pd.DataFrame) -> tuple[Values, Values]:
    """Bounds, growing, and the cumulative counts: a row for each moment, a column for each bound."""
    names = sorted(
        (str(name) for name in counts if str(name).startswith(_BUCKET)),
        key=lambda name: float(name.removeprefix(_BUCKET)),
    )
    bounds = np.array([float(name.removeprefix(_BUCKET)) for name in names])
    return bounds, counts[names].to_numpy(dtype="float64") if names else np.empty((len(counts), 0))
