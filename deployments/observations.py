"""What users saw of a release: figures from the proxy's access log and from the load's record.

The access log says which version failed which requests, how large a share each version had,
and when the last request went to it. The record says the same from the users' side: a request
that never reached the proxy is only there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tasks.domain.errors import PermanentError
from tasks.domain.model import Slot, Window

NOBODY = "-"
"""Stands for the version of a request that no version can be blamed for."""
SERVER_ERROR = 500

_Line = TypeVar("_Line")


@dataclass(frozen=True)
class Stay:
    """A version's time in a slot, aware UTC: start inclusive, end exclusive, None while it stays."""

    slot: Slot
    version: str
    start: datetime
    end: datetime | None = None

    def covers(self, slot: str, at: datetime) -> bool:
        """Whether the version lived in *slot* at that time."""
        return slot == self.slot and self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True)
class Observation:
    """What the proxy saw of a service's requests. Copies (mirrored requests) are not among them.

    Attributes:
        requests: How many.
        failed_by_version: How many were answered with 5xx, by the version itself or by the proxy in
            its place; `NOBODY` for those of no version.
        largest_share: By version, the largest part in percent that it had of any one second's
            drawn requests.
        first_errors: By version, when users got its first 5xx.
        last_answers: By version, when the last request sent to it was answered.
    """

    requests: int
    failed_by_version: Mapping[str, int]
    largest_share: Mapping[str, float]
    first_errors: Mapping[str, datetime]
    last_answers: Mapping[str, datetime]

    def first_error(self, version: str) -> datetime | None:
        """When users got *version*'s first 5xx; None when they got none."""
        return self.first_errors.get(version)

    def last_answer(self, version: str) -> datetime | None:
        """When the last request sent to *version* was answered; None when none was."""
        return self.last_answers.get(version)

    def exposure(self, version: str) -> timedelta | None:
        """From *version*'s first 5xx to its last answer; None when it failed nothing."""
        error, last = self.first_error(version), self.last_answer(version)
        return last - error if error and last else None


@dataclass(frozen=True)
class Failure:
    """A request of the load that failed: a 5xx, or no answer at all (then without version)."""

    time: datetime
    url: str
    reason: str
    version: str | None


@dataclass(frozen=True)
class Experience:
    """What the load's users saw.

    Attributes:
        p50: Median time to an answer; None without any answer.
        p99: 99th percentile of it; None without any answer.
    """

    requests: int
    failures: tuple[Failure, ...]
    p50: timedelta | None
    p99: timedelta | None


class _Request(NamedTuple):
    """A line of the access log; times are epoch seconds."""

    at: float
    ended: float
    service: str
    slot: str
    kind: str
    version: str
    failed: bool


class _Sent(NamedTuple):
    """A line of the load's record; time is epoch seconds, duration milliseconds."""

    at: float
    url: str
    status: int | None
    error: str | None
    version: str | None
    duration: float


def observe(
    log: Path, service: str, window: Window, stays: Sequence[Stay], *, enough: int = 20
) -> Observation:
    """Read what *service*'s users were answered in *window*, by when their requests began.

    Args:
        log: The proxy's access log, one JSON object per line.
        stays: Who lived where: says which version a request failed by the proxy was meant for.
        enough: Seconds with fewer drawn requests tell nothing of shares.

    Raises:
        PermanentError: The log is missing or has an unreadable line; not retried.
    """
    requests = [
        request if request.version != NOBODY else request._replace(version=_lodger(stays, request))
        for request in _read(log, _request)
        if _within(window, request.at) and request.service in (service, NOBODY) and request.kind != "mirror"
    ]
    failed = [request for request in requests if request.failed]
    return Observation(
        requests=len(requests),
        failed_by_version=dict(Counter(request.version for request in failed)),
        largest_share=_largest_shares([request for request in requests if not request.kind], enough),
        first_errors=_by_version(failed, min),
        last_answers=_by_version(requests, max),
    )


def experience(record: Path, window: Window, url: str = "") -> Experience:
    """Read what the load's users saw of the service at *url* (all, when empty) in *window*.

    Raises:
        PermanentError: The record is missing or has an unreadable line; not retried.
    """
    base = url and f"{url.rstrip('/')}/"
    sent = [one for one in _read(record, _sent) if _within(window, one.at) and one.url.startswith(base)]
    durations = sorted(one.duration for one in sent if one.status is not None)
    return Experience(
        requests=len(sent),
        failures=tuple(
            Failure(_instant(one.at), one.url, one.error or f"status {one.status}", one.version)
            for one in sent
            if one.status is None or one.status >= SERVER_ERROR
        ),
        p50=_percentile(durations, 50),
        p99=_percentile(durations, 99),
    )


def _read(path: Path, parse: Callable[[dict[str, Any]], _Line]) -> Iterator[_Line]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return  # it is being written
                try:
                    yield parse(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    msg = f"{path}:{number}: found {line!r}, expected a JSON object with all its fields"
                    raise PermanentError(msg) from error
    except OSError as error:
        msg = f"{path}: {error.strerror}, expected a readable file"
        raise PermanentError(msg) from error


def _request(line: dict[str, Any]) -> _Request:
    at, took = float(line["at"]), float(line["duration_ms"])
    service, _, place = (line["cluster"] or NOBODY).partition("/")
    slot, _, kind = place.partition("/")
    failed = int(line["code"]) >= SERVER_ERROR
    return _Request(at, at + took / 1000, service, slot, kind, line["version"] or NOBODY, failed)


def _sent(line: dict[str, Any]) -> _Sent:
    return _Sent(line["time"], line["url"], line["status"], line["error"], line["version"], line["duration"])


def _within(window: Window, at: float) -> bool:
    return window.start.timestamp() < at <= window.end.timestamp()


def _lodger(stays: Sequence[Stay], request: _Request) -> str:
    at = _instant(request.at)
    return next((stay.version for stay in stays if stay.covers(request.slot, at)), NOBODY)


def _largest_shares(drawn: Sequence[_Request], enough: int) -> dict[str, float]:
    by_second: dict[int, Counter[str]] = {}
    for request in drawn:
        by_second.setdefault(int(request.at), Counter())[request.version] += 1
    largest: dict[str, float] = {}
    for versions in by_second.values():
        if (total := versions.total()) >= enough:
            for version, count in versions.items():
                largest[version] = max(largest.get(version, 0.0), round(100 * count / total, 2))
    return largest


def _by_version(requests: Sequence[_Request], choose: Callable[[float, float], float]) -> dict[str, datetime]:
    chosen: dict[str, float] = {}
    for request in requests:
        chosen[request.version] = choose(chosen.get(request.version, request.ended), request.ended)
    return {version: _instant(at) for version, at in chosen.items()}


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _percentile(ordered: Sequence[float], percent: int) -> timedelta | None:
    """The nearest rank among milliseconds in ascending order."""
    if not ordered:
        return None
    return timedelta(milliseconds=ordered[max(0, -(-percent * len(ordered) // 100) - 1)])
