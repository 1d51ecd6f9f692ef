"""The record of a night, on disk: a night that is started again goes on from it.

One JSON file per night, replaced as a whole at each change. It is written before a release is
asked for, with the release's id, so that asking again makes no second one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import ValidationError

from tasks.domain.errors import ConflictError, PermanentError
from tasks.domain.notices import Notices
from tasks.domain.parts import Part
from tasks.domain.settings import settings
from tasks.nights.entry import Decision, Entry


class NightRecord(Part):
    """A night at one moment."""

    night: str
    """Its name."""
    date: date
    """The day that it belongs to, by the calendar of its time zone."""
    began: datetime
    entries: tuple[Entry, ...] = ()
    """One for each service, once all have been looked at."""
    waves: tuple[tuple[str, ...], ...] = ()
    """Services that are released, by name."""
    stopped: bool = False
    """Whether too many releases failed for the rest to be started."""
    ended: datetime | None = None
    notify: Notices = ()
    """Who is told of it; the watcher tells them, since it has the secrets."""

    def wave(self, names: Sequence[str]) -> list[Entry]:
        """The entries of one wave, in its order."""
        return [self.entry(name) for name in names]

    def entry(self, service: str) -> Entry:
        """What is recorded of *service*."""
        return next(entry for entry in self.entries if entry.service == service)

    def count(self, decision: Decision) -> int:
        """How many services were decided so."""
        return sum(entry.decision is decision for entry in self.entries)


class Book:
    """A night's record, held by the one process that carries the night on."""

    def __init__(self, path: Path, record: NightRecord) -> None:
        self.path = path
        self.record = record

    def put(self, entry: Entry) -> None:
        """Record what is new of one service."""
        kept = (entry if one.service == entry.service else one for one in self.record.entries)
        self.change(entries=tuple(kept))

    def change(self, **fields: object) -> None:
        """Record what is new of the night; returns once it is on disk."""
        self.record = self.record.model_copy(update=fields)
        written = self.path.with_suffix(".new")
        with written.open("w") as file:
            file.write(self.record.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        written.replace(self.path)


@contextmanager
def open_book(night: str, day: date) -> Iterator[Book]:
    """The record of a night, new or as it was left; nobody else has it meanwhile.

    Raises:
        ConflictError: Another process carries the same night on; not retried.
        PermanentError: The file is no night's record; not retried.
    """
    path = nights() / f"{night}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"night {night}: found it carried on by another process, expected none"
            raise ConflictError(msg) from error
        fresh = NightRecord(night=night, date=day, began=datetime.now(UTC))
        yield Book(path, read_night(path) if path.exists() else fresh)


def read_night(path: Path) -> NightRecord:
    """A night's record as it stands in its file.

    Raises:
        PermanentError: It is none; not retried.
    """
    try:
        return NightRecord.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        msg = f"{path}: found something else, expected a night's record"
        raise PermanentError(msg) from error


def is_carried_on(path: Path) -> bool:
    """Whether a process has the night in its hands now."""
    with path.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def nights() -> Path:
    """One file per night."""
    return settings().root / "nights"


def digest_released_by(release: str) -> str:
    """What exactly a release of an earlier night released; empty where no night has recorded it."""
    for path in sorted(nights().glob("*.json"), reverse=True):
        try:
            entries = json.loads(path.read_text())["entries"]
            found = [entry["digest"] for entry in entries if entry["release"] == release]
        except (OSError, ValueError, LookupError, TypeError):
            continue
        if found:
            return str(found[0])
    return ""
