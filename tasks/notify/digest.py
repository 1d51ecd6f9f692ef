"""The digest of a night: one message for all the releases that were due."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from tasks.domain.errors import InputError
from tasks.domain.model import Outcome
from tasks.notify.base import Link, Links, Message, one_line

LINES = 60
"""How many services are told one by one."""
LOOK = (Outcome.FROZEN, Outcome.FAILED)
"""Ends that a person has to look at."""
WELL = (Outcome.PROMOTED, Outcome.TRIED)


class _Nightly(BaseModel):
    """One service's night."""

    service: str
    version: str | None = None
    decision: str = ""
    reason: str | None = None
    outcome: Outcome | None = None
    seconds: float | None = Field(None, ge=0)
    run: str | None = None

    @property
    def rank(self) -> int:
        """What has to be read first comes first."""
        if self.outcome is None:
            return 2
        return 0 if self.outcome in LOOK else 3 if self.outcome in WELL else 1

    @property
    def title(self) -> str:
        """Service and version."""
        return one_line(f"{self.service} {self.version or ''}", 80)


class _Night(BaseModel):
    """The report of a night."""

    date: date
    services: tuple[_Nightly, ...]
    night: str = ""
    unfinished: bool = False


def digest(night: Mapping[str, Any], links: Links, *, at: datetime | None = None) -> Message:
    """What a night's report says: ``{date, services: [{service, version, decision, reason, outcome, seconds, run}]}``.

    ``night`` names one of several nights of a day; ``unfinished`` is true where its process is gone. A service that was not released has no ``outcome``; ``decision`` and ``reason`` say why. What calls
    for a person comes first.

    Args:
        at: When the night was over; now where it is left out.

    Raises:
        InputError: The report is not of that shape; not retried.
    """
    try:
        read = _Night.model_validate(night)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "night"
        raise InputError(field, first["input"], first["msg"]) from None
    services = sorted(read.services, key=lambda one: (one.rank, one.service))
    left = len(services) - LINES
    details = [_line(one) for one in services[:LINES]] + ([f"... and {left} more"] if left > 0 else [])
    name = f"night of {read.date.isoformat()}"
    return Message(
        id=hashlib.sha256(f"davy {name} {read.night}".strip().encode()).hexdigest(),
        at=at or datetime.now(UTC),
        event="digest",
        thread=name,
        subject=f"Releases in the {name}",
        headline=_headline(f"{name} was not finished" if read.unfinished else name, services),
        details=tuple(details),
        links=tuple(Link(one.title, links.run_url(one.run)) for one in services[:10] if one.run),
        is_call=read.unfinished or any(one.outcome in LOOK for one in services),
        is_last=True,
        fields={"event": "digest", **read.model_dump(mode="json")},
    )


def _headline(name: str, services: list[_Nightly]) -> str:
    """Counts, and whom to look at."""
    counts = Counter(str(one.outcome or "not released") for one in services)
    order = (*Outcome, "not released")
    told = (
        ", ".join(f"{counts[str(kind)]} {kind}" for kind in order if counts[str(kind)]) or "nothing was due"
    )
    look = [one.title for one in services if one.outcome in LOOK]
    line = f"The {name}: {told}."
    if look:
        return one_line(f"Look now: {', '.join(look)}. {line}", 500)
    back = ", ".join(one.title for one in services if one.rank == 1)
    return one_line(f"{line} {f'Went back: {back}. ' if back else ''}Nothing to do.", 500)


def _line(one: _Nightly) -> str:
    took = f" after {_span(one.seconds)}" if one.seconds is not None and one.outcome else ""
    what = str(one.outcome) if one.outcome else one_line(one.decision or "not released", 60)
    why = f": {one_line(one.reason, 200)}" if one.reason else ""
    return f"{one.title}: {what}{took}{why}"


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
