"""What the receiver accepted and has not forgotten: an SQLite file that survives whatever ends the process.

A release is kept by service and commit, for ever: whatever tells of the same merge again, now or in a year, finds
it here. Its parameters are kept until Prefect has it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks.domain.errors import TransientError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    sender TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, accepted INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (sender, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_at ON deliveries (at);
CREATE TABLE IF NOT EXISTS releases (
    service TEXT NOT NULL, sha TEXT NOT NULL, at REAL NOT NULL, version TEXT NOT NULL, flow TEXT NOT NULL,
    parameters TEXT NOT NULL, image TEXT, until REAL NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    run TEXT NOT NULL, tries INTEGER NOT NULL, due REAL NOT NULL,
    PRIMARY KEY (service, sha)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS releases_due ON releases (state, due);
"""
_INSERT = """
INSERT INTO releases VALUES (
    :service, :sha, :at, :version, :flow, :parameters, :image, :until, :state, :reason, :run, :tries, 0
) ON CONFLICT DO NOTHING
"""
RECENT = 100
"""How many deliveries and releases are shown."""


class State(StrEnum):
    """How far a release has come."""

    WAITING = "waiting"
    """For its image."""
    READY = "ready"
    """To be given to Prefect."""
    STARTED = "started"
    """Prefect has it."""
    REFUSED = "refused"
    """It will not be released; the reason says why."""


@dataclass(frozen=True)
class Release:
    """One release that a merge asked for.

    Attributes:
        at: When it was accepted, in seconds since 1970.
        flow: The flow that carries it, which is the strategy's name.
        parameters: The flow run's; empty once Prefect has it.
        image: What must be in its registry first.
        until: How long that is waited for, in seconds since 1970.
        reason: Why it waits still, or was refused.
        run: The flow run's id, once there is one.
        tries: How often it was tried in this state.
    """

    service: str
    sha: str
    at: float
    version: str
    flow: str
    parameters: dict[str, Any]
    image: str | None
    until: float
    state: State
    reason: str = ""
    run: str = ""
    tries: int = 0

    @property
    def key(self) -> str:
        """What never makes two flow runs."""
        return f"merge-{self.service}-{self.sha}"

    def to_json(self) -> dict[str, Any]:
        """What is shown of it."""
        shown = ("service", "sha", "at", "version", "state", "reason", "run")
        return {name: getattr(self, name) for name in shown}


class Spool:
    """The file. Every method may be called from any thread; what it changed is on disk when it returns.

    Raises:
        TransientError: The file can't be read or written, as when its disk is full; retried by the caller.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._file.row_factory = sqlite3.Row
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.executescript(_SCHEMA)
        except sqlite3.Error as error:
            msg = f"{path}: found {error}, expected a file to keep merges in"
            raise TransientError(msg) from error

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._file.close()

    def has_accepted(self, sender: str, delivery: str) -> bool:
        """Whether the delivery was accepted before."""
        found = self._do(
            "SELECT 1 FROM deliveries WHERE sender = ? AND id = ? AND accepted", (sender, delivery)
        )
        return bool(found)

    def note(self, sender: str, delivery: str, reason: str) -> None:
        """Keep, for people, that a delivery released nothing; the same one may be sent again and release something."""
        self._do(
            "INSERT INTO deliveries VALUES (?, ?, ?, 0, ?) ON CONFLICT DO NOTHING",
            (sender, delivery, time.time(), reason),
        )

    def accept(self, sender: str, delivery: str, releases: Sequence[Release]) -> list[Release]:
        """Keep a delivery and its releases, all or none of them.

        Returns:
            Those that are new, each the first of its service and commit.
        """
        new = []
        with self._lock, _told(), closing(self._file.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                cursor.execute(
                    "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, 1, '')",
                    (sender, delivery, time.time()),
                )
                for release in releases:
                    cursor.execute(_INSERT, _row(release))
                    new += [release] * cursor.rowcount
                cursor.execute("COMMIT")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
        return new

    def due(self, state: State, limit: int) -> list[Release]:
        """Releases of a *state* to be looked at now, those that waited longest first."""
        rows = self._do(
            "SELECT * FROM releases WHERE state = ? AND due <= ? ORDER BY due, at LIMIT ?",
            (state, time.time(), limit),
        )
        return [_release(row) for row in rows]

    def try_again(self, release: Release, reason: str, after: float) -> None:
        """Look at *release* again in *after* seconds."""
        self._do(
            "UPDATE releases SET reason = ?, due = ?, tries = tries + 1 WHERE service = ? AND sha = ?",
            (reason, time.time() + after, release.service, release.sha),
        )

    def ready(self, release: Release) -> None:
        """Its image is there."""
        self._set(release, State.READY)

    def started(self, release: Release, run: str) -> None:
        """Prefect has it, as flow run *run*."""
        self._set(release, State.STARTED, run=run)

    def refused(self, release: Release, reason: str) -> None:
        """It will not be released."""
        self._set(release, State.REFUSED, reason=reason)

    def _set(self, release: Release, state: State, *, reason: str = "", run: str = "") -> None:
        """Its parameters are kept while they are of use."""
        self._do(
            "UPDATE releases SET state = ?, reason = ?, run = ?, tries = 0, due = 0, "
            "parameters = CASE WHEN ? THEN parameters ELSE '{}' END WHERE service = ? AND sha = ?",
            (state, reason, run, state == State.READY, release.service, release.sha),
        )

    def forget(self, seconds: float) -> None:
        """Forget deliveries that are older."""
        self._do("DELETE FROM deliveries WHERE at < ?", (time.time() - seconds,))

    def counts(self) -> dict[str, int]:
        """How many releases there are in each state."""
        rows = self._do("SELECT state, count(*) FROM releases GROUP BY state", ())
        found = {row[0]: row[1] for row in rows}
        return {state: found.get(state, 0) for state in State}

    def recent(self) -> dict[str, list[dict[str, Any]]]:
        """The last deliveries and releases, newest first."""
        deliveries = self._do("SELECT * FROM deliveries ORDER BY at DESC LIMIT ?", (RECENT,))
        releases = self._do("SELECT * FROM releases ORDER BY at DESC LIMIT ?", (RECENT,))
        return {
            "deliveries": [dict(row) for row in deliveries],
            "releases": [_release(row).to_json() for row in releases],
        }

    def _do(self, statement: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        with self._lock, _told():
            return self._file.execute(statement, values).fetchall()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        msg = f"the file of accepted merges: found {error}, expected to read and write it"
        raise TransientError(msg) from error


def _row(release: Release) -> dict[str, object]:
    values = {field.name: getattr(release, field.name) for field in fields(release)}
    return values | {"parameters": json.dumps(release.parameters)}


def _release(row: sqlite3.Row) -> Release:
    values = {field.name: row[field.name] for field in fields(Release)}
    read = {"parameters": json.loads(row["parameters"]), "state": State(row["state"])}
    return Release(**(values | read))
