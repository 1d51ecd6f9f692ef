"""Judge: holds one slot's own numbers against fixed limits. Pure: same evidence, same verdict.

What is not known is never good: no samples, or fewer requests than a limit asks for, are
inconclusive. A verdict's evidence holds everything that was judged; `judge_again` needs no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from tasks.domain.analysis import Limit, MetricName
from tasks.domain.errors import PermanentError
from tasks.domain.model import Finding, Result, Slot, Verdict
from tasks.domain.pairs import Values
from tasks.judge.evidence import columns_of, evidence_of, frame_of
from tasks.judge.words import UNITS, number

_BUCKET = "le:"


@dataclass(frozen=True)
class _Measured:
    """One metric's value, and what it rests on.

    Attributes:
        value: NaN when it is not known.
        requests: How many it was counted over; None where that does not matter.
        above: The true value is anywhere above `value`.
        unknown: Why there is no value, in words.
    """

    value: float = nan
    requests: int | None = None
    above: bool = False
    unknown: str = "no samples"


def judge_limits(
    frame: pd.DataFrame,
    limits: Mapping[MetricName, Limit],
    candidate: Slot,
    *,
    restarts: int,
    mirrored: bool = False,
) -> Verdict:
    """Hold *candidate* against *limits*.

    Args:
        frame: As a metric source gives it.
        limits: By metric; see `UNITS`. Without any, the verdict is inconclusive.
        restarts: How often the candidate's replicas died and came back.
        mirrored: Judge the copies that it answered in place of users' requests. Latencies
            are of both in any case.

    Raises:
        PermanentError: A limit's metric is unknown; not retried.
    """
    evidence = {
        "frame": evidence_of(frame),
        "limits": {name: limit.model_dump(mode="json") for name, limit in limits.items()},
        "candidate": str(candidate),
        "restarts": restarts,
        "mirrored": mirrored,
    }
    return judge_again(evidence)


def judge_again(evidence: Mapping[str, Any]) -> Verdict:
    """The verdict on what `judge_limits` has put into a verdict's evidence.

    Raises:
        PermanentError: A limit's metric is unknown; not retried.
    """
    slot = Slot(evidence["candidate"])
    frame = frame_of(evidence["frame"])
    own = _own(frame, slot)
    findings = []
    for name, limit in evidence["limits"].items():
        measured = _measure(name, own, evidence["restarts"], mirrored=evidence["mirrored"])
        findings.append(_hold(name, slot, measured, Limit.model_validate(limit)))
    return Verdict(Result.worst(finding.result for finding in findings), tuple(findings), evidence)


@dataclass(frozen=True)
class Figures:
    """What a slot does, for people who look on; NaN where it is not known.

    Attributes:
        request_rate: Per second.
        error_rate: Percent.
        latency_p99: Milliseconds.
    """

    request_rate: float
    error_rate: float
    latency_p99: float


def figures_of(frame: pd.DataFrame, slot: Slot) -> Figures:
    """The figures of *slot* over all of *frame*; nothing is judged."""
    own = _own(frame, slot)
    rates = [
        _measure(name, own, 0, mirrored=False).value for name in ("request_rate", "error_rate", "latency_p99")
    ]
    return Figures(*rates)


def _own(frame: pd.DataFrame, slot: Slot) -> pd.DataFrame:
    """The slot's own columns."""
    return pd.DataFrame(
        {measure: frame[name, measure] for name, measure in columns_of(frame) if name == slot}
    )


def _measure(name: str, own: pd.DataFrame, restarts: int, *, mirrored: bool) -> _Measured:
    """What *name* was, from the slot's own columns."""
    if name not in UNITS:
        msg = f"limits: found metric {name!r}, expected one of {', '.join(UNITS)}"
        raise PermanentError(msg)
    if name == "restarts":
        return _Measured(restarts)
    if name.startswith("latency_p"):
        return _latency(own, int(name.removeprefix("latency_p")) / 100)
    counts = ["mirrored", "mirrored_errors"] if mirrored else ["requests", "errors"]
    known = own.dropna(subset=counts) if set(counts) <= set(own) else pd.DataFrame()
    if known.empty:
        return _Measured()
    return _error_rate(*known[counts].sum()) if name == "error_rate" else _request_rate(known[counts[0]])


def _error_rate(requests: float, errors: float) -> _Measured:
    return _Measured(100 * errors / requests if requests else nan, int(requests))


def _request_rate(requests: pd.Series[float]) -> _Measured:
    """The first sample only marks where the second begins: how long its own interval was is not known."""
    if len(requests) < 2:  # noqa: PLR2004 - a stretch has two ends
        return _Measured(unknown="one sample, at least two needed")
    moments = pd.DatetimeIndex(requests.index)
    seconds = (moments[-1] - moments[0]).total_seconds()
    return _Measured(float(requests.iloc[1:].sum()) / seconds, int(requests.sum()))


def _latency(own: pd.DataFrame, q: float) -> _Measured:
    bounds, counts = _buckets(own)
    if not len(bounds):
        return _Measured(unknown="no latency buckets")
    total = int(counts[-1])
    if not total:
        return _Measured(requests=0)
    value, above = quantile(bounds, counts, q)
    return _Measured(value, total, above=above)


def buckets_of(frame: pd.DataFrame, slot: Slot) -> tuple[Values, Values]:
    """The latency buckets of *slot* over all of *frame*.

    Returns:
        Upper bounds in milliseconds, growing, the last one infinite, and how many requests took at
        most so long; both empty where that is not known.
    """
    return _buckets(_own(frame, slot))


def _buckets(own: pd.DataFrame) -> tuple[Values, Values]:
    """Over all samples; bounds that not every sample has are left out."""
    buckets = own[[name for name in own if str(name).startswith(_BUCKET)]]
    counts = buckets.dropna(how="all").dropna(axis="columns").sum()
    counts.index = pd.Index([float(str(name).removeprefix(_BUCKET)) for name in counts.index])
    counts = counts.sort_index()
    if len(counts) < 2 or isfinite(counts.index[-1]):  # noqa: PLR2004 - one bound, and infinity
        return np.empty(0), np.empty(0)
    return counts.index.to_numpy(dtype=np.float64), counts.to_numpy(dtype=np.float64)


def quantile(bounds: np.ndarray, counts: np.ndarray, q: float) -> tuple[float, bool]:
    """The *q* quantile of bucketed values, as Prometheus' ``histogram_quantile`` finds it.

    Values are taken to be spread evenly in their bucket; the lowest one begins at 0.

    Args:
        bounds: Upper bounds, growing, positive, the last one infinite.
        counts: How many values lie at or below each bound; the last one is positive.
        q: 0 to 1.

    Returns:
        The quantile; or the highest finite bound and True when it lies above that.
    """
    counts = np.maximum.accumulate(counts)
    rank = q * counts[-1]
    bucket = int(np.searchsorted(counts[:-1], rank))
    if bucket == len(bounds) - 1:
        return float(bounds[-2]), True
    low, below = (bounds[bucket - 1], counts[bucket - 1]) if bucket else (0.0, 0.0)
    inside = counts[bucket] - below
    return float(low + (bounds[bucket] - low) * ((rank - below) / inside if inside else 1.0)), False


def _hold(name: str, slot: Slot, measured: _Measured, limit: Limit) -> Finding:
    """One metric against its limit."""
    few = measured.requests is not None and measured.requests < limit.min_requests
    if few or not isfinite(measured.value):
        why = (
            f"{measured.requests} requests, at least {limit.min_requests} needed" if few else measured.unknown
        )
        return Finding(name, slot, Result.INCONCLUSIVE, None, f"{name} of {slot} is not known: {why}")
    said = f"{name} of {slot} was {'above ' if measured.above else ''}{number(measured.value)}{UNITS[name]}"
    over = "" if measured.requests is None else f" over {measured.requests} requests"
    bounds = [
        f"{words} {number(bound)}{UNITS[name]}"
        for words, bound in (("at least", limit.min), ("at most", limit.max))
        if bound is not None
    ]
    reason = f"{said}{over}, {' and '.join(bounds)} allowed"
    return Finding(name, slot, _compare(measured, limit), measured.value, reason)


def _compare(measured: _Measured, limit: Limit) -> Result:
    """Passing is what has to be shown, so that a limit of NaN passes nothing."""
    value = measured.value
    if measured.above and limit.max is not None:
        return Result.INCONCLUSIVE if value < limit.max else Result.FAIL
    kept = (limit.max is None or value <= limit.max) and (limit.min is None or value >= limit.min)
    if measured.above and not kept:
        return Result.INCONCLUSIVE
    return Result.PASS if kept else Result.FAIL
