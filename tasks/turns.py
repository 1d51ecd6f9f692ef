"""Turns: one release of a service at a time, and of those that wait for it the newest. Needs no Prefect."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from tasks.domain.errors import ConflictError, SupersededError, WithdrawnError
from tasks.domain.model import Outcome
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of, journals_of
from tasks.record import Record

LOOK_BACK = 5
"""How many of a service's last releases may still have something to clear away."""
POLL = 0.5
"""Seconds between two looks at whether it is this release's turn."""
WITHDRAWN = "cancelled while it waited for its turn; nothing was touched"


def await_turn(service: ServiceFile, release: str, version: str) -> None:
    """Return once no other release of *service* is under way, as its ``on_conflict`` says.

    ``queue`` waits, ``supersede`` has the one under way taken back first; either gives way to a newer one that waits.

    Raises:
        ConflictError: One is under way, and ``on_conflict`` is ``reject``, or one is frozen, or another process has
            begun this one meanwhile; not retried.
        SupersededError: A newer release waits, too; not retried.
        WithdrawnError: It was withdrawn meanwhile; not retried.
    """
    if service.on_conflict == "reject":
        refuse_second(service.service)
        return
    with Place(service.service, release, version) as place:
        place.give_way()
        while (other := under_way(service.service)) is not None:
            refuse_begun(service.service, release)
            if service.on_conflict == "supersede" and not (other.abort_asked or other.reverting):
                supersede(other, release, version)
            time.sleep(POLL)
            place.give_way()


def refuse_begun(service: str, release: str) -> None:
    """Make sure that no other process has begun this release: infrastructure may start a run twice.

    Raises:
        ConflictError: One has; not retried.
    """
    if journal_of(service, release).exists():
        msg = f"{service}: found release {release} begun by another process, expected it to begin here"
        raise ConflictError(msg)


def supersede(record: Record, release: str, version: str) -> None:
    """Have the release that is under way taken back, because a newer one comes.

    Raises:
        TransientError: Others kept writing to its journal; retried.
    """
    reason = f"superseded by {version} (release {release})"
    journal = journal_of(record.service.service, record.release)
    journal.append("abort", by=release, reason=reason, outcome=Outcome.SUPERSEDED)


def withdraw(service: str, release: str) -> bool:
    """Have a release not begin that waits for its turn, nor a second process of it that stands by.

    Returns:
        Whether it waited.
    """
    place = _place(service, release)
    files = sorted(place.parent.glob("*"))  # who stands by comes first, so none takes the place meanwhile
    waiting = [file for file in files if file.stem == place.stem and _waiting(file)]
    for file in waiting:
        file.unlink(missing_ok=True)
    return bool(waiting)


class Place:
    """A release's place among those that wait for a service: a file, locked for as long as it waits.

    It is there whole and locked, or not at all. The lock goes with the process, so that nobody gives way to one that
    is dead. A second process of the same release stands by until the first one waits no more.
    """

    def __init__(self, service: str, release: str, version: str) -> None:
        self._path = _place(service, release)
        self._line = {"at": time.time_ns(), "release": release, "version": version}
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(f".{self._line['at']}")
        self._descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.write(self._descriptor, json.dumps(self._line).encode())
        try:
            while not self._take(new):
                time.sleep(POLL)
        except BaseException:
            os.close(self._descriptor)
            raise
        finally:
            new.unlink(missing_ok=True)
        return self

    def _take(self, new: Path) -> bool:
        """Put the file in its place; not while another process of this release waits there.

        Raises:
            WithdrawnError: It was withdrawn; not retried.
        """
        _waiting(self._path)  # clears away what a dead one left
        try:
            self._path.hardlink_to(new)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise WithdrawnError(WITHDRAWN) from None
        return True

    def _is_held(self) -> bool:
        """Whether the file in the place is this process's own."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_held():
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def give_way(self) -> None:
        """Make sure that this is the newest that waits, and waits still.

        Raises:
            SupersededError: A newer one waits, too; not retried.
            WithdrawnError: It was withdrawn; not retried.
        """
        if not self._is_held():
            raise WithdrawnError(WITHDRAWN)
        for path in self._path.parent.glob("*.json"):
            other = _waiting(path) if path != self._path else None
            if other and (other.at, other.release) > (self._line["at"], self._line["release"]):
                msg = (
                    f"superseded by {other.version} (release {other.release}), which waits for its turn, too"
                )
                raise SupersededError(msg)


@dataclass(frozen=True)
class Waiting:
    """A release that waits for its turn.

    Attributes:
        at: Since when, nanoseconds since the epoch.
    """

    at: int
    release: str
    version: str


def _place(service: str, release: str) -> Path:
    """The file of a release that waits."""
    return settings().root / "queue" / service / f"{release}.json"


def _waiting(path: Path) -> Waiting | None:
    """Who waits there; None where nobody does any more."""
    with suppress(OSError, ValueError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Waiting(**json.loads(file.read()))
        path.unlink(missing_ok=True)  # locked as soon as it is there, so whoever waited there is dead
    return None


def refuse_second(service: str) -> None:
    """Make sure that no release of *service* is under way.

    Raises:
        ConflictError: One is, or one is frozen; not retried.
    """
    record = under_way(service)
    if record:
        began = f"{record.opened_at:%H:%M:%S}"
        msg = (
            f"{service}: found release {record.release} of {record.opening.version} under way since {began}, "
            f"expected none; follow it with 'davy status', take it back with 'davy abort {service}'"
        )
        raise ConflictError(msg)


def under_way(service: str) -> Record | None:
    """The release of *service* that has not ended; None where there is none.

    Raises:
        ConflictError: One is frozen, and a person has to take it back first; not retried.
    """
    for record in recent(service):
        if record.ended is None:
            return record
        if record.frozen:
            msg = f"{service}: found release {record.release} frozen, expected it to be taken back first ('davy abort {service}')"
            raise ConflictError(msg)
    return None


def recent(service: str) -> list[Record]:
    """The service's last releases, newest first."""
    journals = islice(journals_of(service), LOOK_BACK)
    records = [Record.read(journal) for journal in journals if journal.exists()]
    return sorted(records, key=lambda record: record.opened_at, reverse=True)
