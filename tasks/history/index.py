"""The index of past releases: SQLite, one row per journal, a cache that the journals can fill again.

Journals only ever grow, so one whose size and time of change are as before is not read again.
An index that is missing, broken, or of another schema is made anew. Any number of processes may
refresh it at once; no release writes to it or waits for it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from tasks.domain.errors import JournalError, TransientError
from tasks.domain.model import Outcome
from tasks.history.entry import Entry, Unreadable, entry_of
from tasks.journal import Journal

SCHEMA = 1
"""Raised whenever another thing is kept, or it is read from journals in another way."""
LOCK_WITHIN = 30.0
"""Seconds to wait for other processes' transactions."""
BATCH = 200
"""Journals read between two transactions."""
_FIELDS = Entry._fields
_TIMES = ("began", "ended", "committed", "detected", "restored")
_READ_BACK: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TIMES, partial(datetime.fromtimestamp, tz=UTC)),
    "outcome": {str(outcome): outcome for outcome in Outcome}.__getitem__,
    "exposed": bool,
    "degraded": bool,
}
"""How fields are read back that SQLite keeps in another type; times are seconds since 1970."""
_PLACES = [(_FIELDS.index(name), read) for name, read in _READ_BACK.items()]
_KEYS = ["path", "size", "changed", "trouble"]
_COLUMNS = ", ".join(f'"{name}"' for name in _FIELDS)
_TABLE = f"""CREATE TABLE journals (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, trouble TEXT, {_COLUMNS})"""
_WRITE = f"INSERT OR REPLACE INTO journals ({', '.join(_KEYS)}, {_COLUMNS}) VALUES ({', '.join('?' * (len(_KEYS) + len(_FIELDS)))})"  # noqa: S608 - names of our own
_READ = f"SELECT {_COLUMNS} FROM journals WHERE began IS NOT NULL AND (ended IS NULL OR ended >= ?)"  # noqa: S608 - likewise


Mark = tuple[str, int, int]
"""A journal by ``service/file`` and how it was when it was read: bytes, and nanoseconds since 1970."""


@dataclass(frozen=True)
class Found:
    """What an index holds.

    Attributes:
        entries: Those that ended in the span asked for or still run, newest first.
        unreadable: Journals that can't be read, of any time.
        services: All that have a journal.
        read: How many journals had to be read for it.
    """

    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...]
    services: tuple[str, ...]
    read: int


class Index:
    """The index at *path* of the journals in a folder with one folder per service."""

    def __init__(self, path: Path, journals: Path) -> None:
        self.path = path
        self.journals = journals

    def find(
        self,
        service: str | None,
        since: datetime,
        *,
        rebuild: bool = False,
        say: Callable[[int], None] = lambda _number: None,
    ) -> Found:
        """Read what changed in the journals, then what is asked for.

        Args:
            service: None for all.
            since: From when releases that have ended count, aware UTC.
            rebuild: Read every journal again.
            say: Told how many journals are to be read, before they are.

        Raises:
            TransientError: The file can't be opened or written, or stayed locked; retried by the caller.
        """
        if not self.journals.is_dir():
            return Found((), (), (), 0)
        try:
            return self._find_anyway(service, since, say, rebuild=rebuild)
        except (sqlite3.Error, OSError) as error:
            msg = f"{self.path}: {error}, expected an index that can be written"
            raise TransientError(msg) from error

    def _find_anyway(
        self, service: str | None, since: datetime, say: Callable[[int], None], *, rebuild: bool
    ) -> Found:
        """With a new file where the one there is broken, or is no index."""
        try:
            return self._find(service, since, say, rebuild=rebuild)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._forget()
            return self._find(service, since, say, rebuild=rebuild)

    def _find(
        self, service: str | None, since: datetime, say: Callable[[int], None], *, rebuild: bool
    ) -> Found:
        with closing(_connect(self.path)) as database:
            if rebuild:
                with _writing(database):  # others meanwhile find the rows as they are
                    database.execute("UPDATE journals SET size = -1")
            read = self._refresh(database, say)
            one, names = ("", ()) if service is None else (" AND service = ?", (service,))
            rows = database.execute(f"{_READ}{one}", (since.timestamp(), *names))
            troubles = database.execute(
                f"SELECT service, release, trouble FROM journals WHERE trouble IS NOT NULL{one} ORDER BY path",  # noqa: S608 - likewise
                names,
            )
            services = database.execute("SELECT DISTINCT service FROM journals ORDER BY service")
            return Found(
                tuple(sorted(map(_entry, rows), key=attrgetter("began"), reverse=True)),
                tuple(Unreadable(*row) for row in troubles),
                tuple(name for (name,) in services),
                read,
            )

    def _refresh(self, database: sqlite3.Connection, say: Callable[[int], None]) -> int:
        """Bring the rows up to the files as they are now; returns how many files were read."""
        known: set[Mark] = set(database.execute("SELECT path, size, changed FROM journals"))
        found = set(_scan(self.journals))
        changed = sorted(found - known)
        gone = {path for path, *_ in known - found} - {path for path, *_ in changed}
        if gone:
            with _writing(database):
                database.executemany("DELETE FROM journals WHERE path = ?", [(path,) for path in gone])
        if changed:
            say(len(changed))
        rest = iter(changed)
        while batch := list(islice(rest, BATCH)):
            rows = [self._row(mark) for mark in batch]
            with _writing(database):
                database.executemany(_WRITE, rows)
        return len(changed)

    def _row(self, mark: Mark) -> list[Any]:
        """A journal as the table has it; one that can't be read, or has not begun, only by its name."""
        file = self.journals / mark[0]
        named: dict[str, Any] = {"service": file.parent.name, "release": file.stem}
        entry, trouble = None, None
        try:
            entry = entry_of(Journal(file))
        except (JournalError, OSError) as error:
            trouble = str(error)
        values = {name: getattr(entry, name) for name in _FIELDS} if entry else dict.fromkeys(_FIELDS) | named
        for name in _TIMES:
            at = values[name]
            values[name] = at.timestamp() if at else None
        return [*mark, trouble, *(values[name] for name in _FIELDS)]

    def _forget(self) -> None:
        """Remove a file that is no index; what SQLite keeps beside it goes first."""
        for suffix in ("-wal", "-shm", ""):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the index; its table is made where it is missing, or of another schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=LOCK_WITHIN, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if _schema(database) != SCHEMA:
            with _writing(database):
                if _schema(database) != SCHEMA:
                    database.execute("DROP TABLE IF EXISTS journals")
                    database.execute(_TABLE)
                    database.execute("CREATE INDEX by_service ON journals (service, ended)")
                    database.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        database.close()
        raise
    return database


def _schema(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _writing(database: sqlite3.Connection) -> Iterator[None]:
    """One transaction, which waits for those of others before it begins."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _scan(journals: Path) -> Iterator[Mark]:
    """Every journal as it is now."""
    for folder in [entry for entry in os.scandir(journals) if entry.is_dir()]:
        for file in os.scandir(folder.path):
            if file.name.endswith(".jsonl"):
                status = file.stat()
                yield f"{folder.name}/{file.name}", status.st_size, status.st_mtime_ns


def _entry(row: tuple[Any, ...]) -> Entry:
    values = list(row)
    for place, read in _PLACES:
        if values[place] is not None:
            values[place] = read(values[place])
    return Entry(*values)
