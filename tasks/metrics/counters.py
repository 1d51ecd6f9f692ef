"""Envoy's counters, and what happened between two looks at them.

The router gives each slot of a service three clusters with the same endpoints:
``service/slot`` for requests drawn by weight, ``service/slot/sent`` for matched and pinned
ones, ``service/slot/mirror`` for copies. Everything that reads Envoy's counters, directly
or through a Prometheus, turns them into a `Look` and lets `compare` find the increments,
so all sources agree on births, resets and restarts. Free of pandas, for the sampler's sake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tasks.domain.model import Slot

REQUESTS_BY_CLASS = "envoy_cluster_upstream_rq_xx"
LATENCY_BUCKET = "envoy_cluster_upstream_rq_time_bucket"
ENDPOINTS = "envoy_cluster_membership_total"
UPTIME = "envoy_server_uptime"
METRICS = (REQUESTS_BY_CLASS, LATENCY_BUCKET, ENDPOINTS, UPTIME)
"""The series that are read, as Envoy's ``/stats/prometheus`` names them."""

FILTER = r"^(cluster\.[^.]+\.(upstream_rq_[2-5]xx|upstream_rq_time|membership_total)|server\.uptime)$"
"""Lets Envoy write these series only. 1xx answers come before the real one and do not count."""

UPTIME_SLACK = 10
"""Seconds by which the uptime may lag: Envoy sets it at each flush, every 5 s by default."""

_REQUESTS, _ERRORS, _ALL = "requests", "errors", "inf"


class Kind(StrEnum):
    """Why a request went to a slot."""

    DRAWN = "drawn"
    SENT = "sent"
    MIRROR = "mirror"


@dataclass(frozen=True)
class Place:
    """Whose cluster it is."""

    service: str
    slot: Slot
    kind: Kind


@dataclass(frozen=True)
class Series:
    """One series at one moment, as Prometheus' text format has it."""

    metric: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Look:
    """Envoy's totals at one moment.

    Attributes:
        at: Milliseconds since 1970, UTC.
        uptime: Seconds since Envoy started; None before its first flush.
        totals: By cluster: ``requests``, ``errors``, and cumulative counts by latency bound
            in milliseconds (``25``, ``inf``). What was never hit is missing.
        serving: The clusters that have endpoints.
    """

    at: int
    uptime: int | None
    totals: Mapping[str, Mapping[str, int]]
    serving: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sample:
    """What one slot did in the interval that ends ``at``: increments.

    Attributes:
        at: Milliseconds since 1970, UTC.
        interval: Milliseconds since the look before.
        drawn: None, as are the copies, where the source cannot tell them apart.
        latency: By bound, how many took at most so many milliseconds; empty when none ended.
    """

    service: str
    slot: Slot
    at: int
    interval: int
    requests: int = 0
    errors: int = 0
    drawn: int | None = 0
    mirrored: int | None = 0
    mirrored_errors: int | None = 0
    latency: Mapping[str, int] = field(default_factory=dict)


def read_look(at: int, series: Iterable[Series]) -> Look:
    """The look at *at* that *series* make up; those of foreign clusters are left out."""
    uptime: int | None = None
    totals: dict[str, dict[str, int]] = {}
    serving: set[str] = set()
    for one in series:
        cluster = one.labels.get("envoy_cluster_name", "")
        if one.metric == UPTIME:
            uptime = int(one.value)
        elif parse_cluster(cluster) is None:
            continue
        elif one.metric == ENDPOINTS:
            serving.update({cluster} if one.value else ())
        else:
            counts = totals.setdefault(cluster, {})
            for key in _keys(one):
                counts[key] = counts.get(key, 0) + int(one.value)
    return Look(at, uptime, totals, frozenset(serving))


def parse_cluster(name: str) -> Place | None:
    """Whose cluster *name* is; None for one that the router did not name."""
    service, _, rest = name.partition("/")
    slot, _, kind = rest.partition("/")
    if slot not in set(Slot) or kind not in ("", Kind.SENT, Kind.MIRROR):
        return None
    return Place(service, Slot(slot), Kind(kind or Kind.DRAWN))


def compare(before: Look, after: Look) -> list[Sample]:
    """What each slot did between two looks; slots without endpoints and requests are left out.

    A total that was not there before counts from 0, because Envoy creates it at its first
    hit. So does every total of a cluster of which one went back, and of an Envoy that restarted.
    """
    restarted = _restarted(before, after)
    parts: dict[tuple[str, Slot], dict[Kind, dict[str, int]]] = {}
    for name in sorted(after.serving | after.totals.keys()):
        base = {} if restarted else before.totals.get(name, {})
        counts = increments(base, after.totals.get(name, {}))
        place = parse_cluster(name)
        if place and (name in after.serving or any(counts.values())):
            parts.setdefault((place.service, place.slot), {})[place.kind] = counts
    interval = max(after.at - before.at, 0)
    return [_sample(*owner, after.at, interval, kinds) for owner, kinds in parts.items()]


def _keys(series: Series) -> tuple[str, ...]:
    if series.metric == LATENCY_BUCKET:
        return (f"{float(series.labels['le']):.15g}",)
    if series.metric == REQUESTS_BY_CLASS:
        return (_REQUESTS, _ERRORS) if series.labels["envoy_response_code_class"] == "5" else (_REQUESTS,)
    return ()


def _restarted(before: Look, after: Look) -> bool:
    """Whether Envoy is young enough to be a new one, and younger than the old one would be.

    The first keeps a clock that was set back from looking like a restart.
    """
    if before.uptime is None or after.uptime is None:
        return False
    elapsed = (after.at - before.at) / 1000
    expected = before.uptime + max(elapsed - UPTIME_SLACK, 0)
    return after.uptime <= elapsed + 1 and after.uptime < expected


def increments(base: Mapping[str, int], totals: Mapping[str, int]) -> dict[str, int]:
    """By how much each of *totals* grew; all count from 0 when one of them went back."""
    if any(totals.get(key, 0) < count for key, count in base.items()):
        base = {}
    return {key: count - base.get(key, 0) for key, count in totals.items()}


def _sample(
    service: str, slot: Slot, at: int, interval: int, kinds: Mapping[Kind, Mapping[str, int]]
) -> Sample:
    counts = {kind: (part.get(_REQUESTS, 0), part.get(_ERRORS, 0)) for kind, part in kinds.items()}
    drawn, drawn_errors = counts.get(Kind.DRAWN, (0, 0))
    sent, sent_errors = counts.get(Kind.SENT, (0, 0))
    mirrored, mirrored_errors = counts.get(Kind.MIRROR, (0, 0))
    latency: dict[str, int] = {}
    for part in kinds.values():
        for key, count in part.items():
            if key not in (_REQUESTS, _ERRORS):
                latency[key] = latency.get(key, 0) + count
    return Sample(
        service,
        slot,
        at,
        interval,
        requests=drawn + sent,
        errors=drawn_errors + sent_errors,
        drawn=drawn,
        mirrored=mirrored,
        mirrored_errors=mirrored_errors,
        latency=latency if latency.get(_ALL) else {},
    )
