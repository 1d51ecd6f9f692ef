"""One release as its history keeps it: what its journal says, in one flat value.

The service file in the journal's first line is not validated, so a journal that an older Davy
wrote stays readable when fields of service files change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tasks.domain.errors import JournalError
from tasks.domain.model import Outcome, Slot
from tasks.domain.units import WHOLE
from tasks.journal import Journal, Line
from tasks.record import Record

ROLLBACK = "rollback"
"""The kind of a release that goes back to the version before the last promoted one."""
GOOD = (Outcome.PROMOTED, Outcome.TRIED)
WITHDRAWN = (Outcome.REJECTED, Outcome.ABORTED, Outcome.SUPERSEDED)
"""A person, or a newer release, ended it."""


class Entry(NamedTuple):
    """One release; a tuple, as an answer may hold ten thousand of them. Instants are aware UTC.

    Attributes:
        kind: A strategy's name, or ``rollback``.
        stable: The version that users were on before; empty for a service's first version.
        ended: None while it runs.
        reason: Why it did not go on; empty where it did.
        by: Who took it back: ``guard``, ``flow``, ``watcher`` or a person; empty where nobody did.
        run: The flow run that carried it last; empty where none did.
        committed: When its newest change was committed; None where the first line does not say.
        detected: When it was found to be bad, or asked back: the first failed check since the shares were
            last changed, else a person's word, else the way back's. Of a rollback, when it began.
        restored: When all users' traffic was on the right version again, after `detected`; None
            where it is not, or where no user had ever been on the new version.
        exposed: The new version was given a share of users' own traffic. Testers' matched requests and
            mirrored copies are none.
        degraded: A check had failed since the shares were last changed when it was taken back.
        steps: How many different shares of users' traffic the new version was given.
        largest: The largest of them, in basis points.
    """

    service: str
    release: str
    kind: str
    version: str
    stable: str
    began: datetime
    ended: datetime | None
    outcome: Outcome | None
    reason: str
    by: str
    run: str
    committed: datetime | None
    detected: datetime | None
    restored: datetime | None
    exposed: bool
    degraded: bool
    steps: int
    largest: int

    def __hash__(self) -> int:
        return hash((self.service, self.release))

    @property
    def duration(self) -> timedelta | None:
        """From its first line to its end; None while it runs."""
        return self.ended - self.began if self.ended else None

    @property
    def why(self) -> str:
        """The reason, without the service, or its revision, that it is said of."""
        subject, _, rest = self.reason.partition(": ")
        return rest if rest and subject.split("/")[0] == self.service else self.reason

    @property
    def is_rollback(self) -> bool:
        """It puts right what an earlier release did, and brings no change of its own."""
        return self.kind == ROLLBACK

    @property
    def from_commit(self) -> bool:
        """Its lead time counts from a commit. One later than the release's start is by another clock."""
        return self.committed is not None and self.committed <= self.began

    @property
    def lead_time(self) -> timedelta | None:
        """From its commit, where that is known, else from its start, until it was promoted."""
        if self.outcome is not Outcome.PROMOTED or self.ended is None:
            return None
        since = self.committed if self.committed and self.from_commit else self.began
        return self.ended - since

    @property
    def restoring(self) -> timedelta | None:
        """From when it was found to be bad until all users were on the right version again."""
        return self.restored - self.detected if self.detected and self.restored else None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``; times in seconds, shares in percent."""
        return {
            "release": self.release,
            "service": self.service,
            "strategy": self.kind,
            "version": self.version,
            "stable": self.stable or None,
            "began": self.began.isoformat(),
            "ended": _text(self.ended),
            "seconds": _seconds(self.duration),
            "outcome": self.outcome,
            "reason": self.reason or None,
            "by": self.by or None,
            "run": self.run or None,
            "committed": _text(self.committed),
            "lead_seconds": _seconds(self.lead_time),
            "lead_from": ("commit" if self.from_commit else "start") if self.lead_time else None,
            "detected": _text(self.detected),
            "restored": _text(self.restored),
            "restore_seconds": _seconds(self.restoring),
            "users_had_it": self.exposed,
            "steps": self.steps,
            "largest_share": self.largest / 100,
        }


@dataclass(frozen=True)
class Unreadable:
    """A journal that can't be read, and why."""

    service: str
    release: str
    trouble: str

    def to_json(self) -> dict[str, str]:
        """For ``--json``."""
        return {"service": self.service, "release": self.release, "trouble": self.trouble}


def entry_of(journal: Journal) -> Entry | None:
    """Read *journal*; None for one without a whole line, whose release has not begun.

    Raises:
        JournalError: The chain is broken, or a line does not hold what it must; not retried.
        OSError: The file can't be read; not retried.
    """
    record = Record.read(journal)
    if not record.lines:
        return None
    try:
        return _entry(record)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        msg = f"{journal.path}: found lines that do not hold what a release's must ({error!r}), expected a release"
        raise JournalError(msg) from error


def _entry(record: Record) -> Entry:
    opening, ended, word = record.lines[0].data, record.ended, record.reverting
    stable, kind = opening["stable"], opening["kind"]
    own = "" if stable is None else str(Slot(stable["slot"]))
    shares = [points for line in record.all("asked") if (points := _new_share(line, own))]
    checks = _checks(record)
    detected, restored = _rolled_back(record, own) if kind == ROLLBACK else _taken_back(record, own, checks)
    return Entry(  # long, as there is a line for each field
        service=_plain(opening["service"]["service"]),
        release=record.release,
        kind=_plain(kind),
        version=_plain(opening["version"]),
        stable=_plain(stable["version"]) if stable else "",
        began=record.opened_at,
        ended=ended.at if ended else None,
        outcome=record.outcome,
        reason=_reason(record),
        by=_by(record),
        run=record.run or "",
        committed=_committed(opening),
        detected=detected,
        restored=restored if shares else None,
        exposed=bool(shares),
        degraded=bool(shares and checks and word),
        steps=len(set(shares)),
        largest=max(shares, default=0),
    )


def _new_share(line: Line, own: str) -> int:
    """Basis points of users' traffic that a line gives to the new version."""
    others = (own, Slot.BASELINE)
    return sum(points for slot, points in line.data["split"].items() if slot not in others)


def _checks(record: Record) -> list[Line]:
    """The failed checks between the last change of shares and the way back."""
    word = record.reverting
    until = word.at if word else None
    before = [line for line in record.lines if until is None or line.at <= until]
    lives = [number for number, line in enumerate(before) if line.kind == "live"]
    return [line for line in before[lives[-1] if lives else 0 :] if line.kind == "check"]


def _taken_back(record: Record, own: str, checks: list[Line]) -> tuple[datetime | None, datetime | None]:
    """When a release was found to be bad, and when stable had everything again."""
    word = record.reverting
    if word is None:
        return None, None
    detected = min(line.at for line in (*checks[:1], record.abort_asked, word) if line)
    whole = (line.at for line in record.all("live") if line.at >= word.at and _is_all(line, own))
    return detected, next(whole, None)


def _rolled_back(record: Record, own: str) -> tuple[datetime, datetime | None]:
    """When a rollback was asked for, and when the version before had everything."""
    whole = (line.at for line in record.all("live") if _new_share(line, own) == WHOLE)
    return record.opened_at, next(whole, None)


def _is_all(line: Line, slot: str) -> bool:
    return bool(slot) and line.data["split"].get(slot) == WHOLE


def _reason(record: Record) -> str:
    """In one line."""
    word, ended = record.reverting, record.ended
    if word is None and record.outcome in GOOD:
        return ""
    told = word.data["reason"] if word else ended.data["message"] if ended else ""
    return " ".join(_plain(told).split())


def _by(record: Record) -> str:
    """Who ended it before its end; the person who asked for it comes before who carried it out."""
    word = record.abort_asked if record.outcome in (None, Outcome.ABORTED) else None
    word = word or record.reverting
    return _plain(word.data["by"]) if word else ""


def _plain(told: object) -> str:
    """As text that any encoding can hold; a program's output may have had half a character."""
    return str(told).encode(errors="replace").decode()


def _committed(opening: Mapping[str, Any]) -> datetime | None:
    """The commit's time.

    Raises:
        ValueError: It is no ISO 8601 instant with a time zone; not retried.
    """
    text = opening.get("committed")
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        msg = f"committed: found {text!r}, expected an instant with its time zone"
        raise ValueError(msg)
    return at.astimezone(UTC)


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _seconds(span: timedelta | None) -> float | None:
    return round(span.total_seconds(), 3) if span is not None else None
