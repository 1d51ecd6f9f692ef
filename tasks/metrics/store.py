"""The sampler's history: SQLite, one writer, any number of readers; free of pandas.

The totals of the last look are kept beside the samples and change in the same transaction,
so a sampler that was restarted goes on where the one before ended and counts nothing twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from tasks.domain.model import Slot
from tasks.metrics.counters import Look, Sample

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS look (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER, uptime INTEGER);
CREATE TABLE IF NOT EXISTS totals (cluster TEXT PRIMARY KEY, counts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (
    at INTEGER, service TEXT, slot TEXT, interval INTEGER,
    requests INTEGER, errors INTEGER, drawn INTEGER, mirrored INTEGER, mirrored_errors INTEGER,
    latency TEXT,
    PRIMARY KEY (at, service, slot)
) WITHOUT ROWID;
"""
_FIELDS = [field.name for field in fields(Sample)]
_COLUMNS = ", ".join(_FIELDS)
_LOCK_WITHIN = 5.0
"""Seconds to wait for another connection's transaction."""


def open_store(path: Path) -> sqlite3.Connection:
    """The history at *path*, made where it is missing, for its writer.

    Raises:
        sqlite3.Error: It cannot be opened, or is no database; not retried.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(path, timeout=_LOCK_WITHIN, isolation_level=None)
    store.executescript(_SCHEMA)
    return store


def last_look(store: sqlite3.Connection) -> Look | None:
    """The look that the newest samples end with; None before the first."""
    row = store.execute("SELECT at, uptime FROM look").fetchone()
    if row is None:
        return None
    kept = store.execute("SELECT cluster, counts FROM totals")
    return Look(row[0], row[1], {cluster: json.loads(counts) for cluster, counts in kept})


def keep(store: sqlite3.Connection, before: Look | None, look: Look, samples: Collection[Sample]) -> None:
    """Add *samples* and make *look* the last one; the caller holds the transaction."""
    known = before.totals if before else {}
    changed = [(name, _dump(counts)) for name, counts in look.totals.items() if known.get(name) != counts]
    gone = [(name,) for name in known.keys() - look.totals.keys()]
    rows = [{**vars(sample), "latency": _dump(sample.latency)} for sample in samples]
    marks = ", ".join(f":{name}" for name in _FIELDS)
    store.execute("INSERT OR REPLACE INTO look VALUES (1, ?, ?)", (look.at, look.uptime))
    store.executemany("INSERT OR REPLACE INTO totals VALUES (?, ?)", changed)
    store.executemany("DELETE FROM totals WHERE cluster = ?", gone)
    store.executemany(f"INSERT OR REPLACE INTO samples ({_COLUMNS}) VALUES ({marks})", rows)  # noqa: S608 - constants


def forget(store: sqlite3.Connection, before: int) -> None:
    """Delete samples that ended before *before*, in milliseconds since 1970."""
    store.execute("DELETE FROM samples WHERE at < ?", (before,))


def read_samples(path: Path, service: str, slots: Collection[Slot], start: int, end: int) -> list[Sample]:
    """The samples of *slots* whose whole interval lies from *start* to *end*, oldest first.

    Args:
        start: Milliseconds since 1970; an interval that began before is left out.
        end: Milliseconds since 1970; an interval that ended later is left out.

    Raises:
        sqlite3.Error: There is no history at *path*, or it cannot be read.
    """
    marks = ", ".join("?" * len(slots))
    query = (
        f"SELECT {_COLUMNS} FROM samples WHERE at BETWEEN ? AND ? AND at - interval >= ?"  # noqa: S608 - constants
        f" AND service = ? AND slot IN ({marks}) ORDER BY at"
    )
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_WITHIN)) as store:
        rows = store.execute(query, (start, end, start, service, *map(str, slots)))
        return [_sample(row) for row in rows]


def _sample(row: tuple[Any, ...]) -> Sample:
    values = dict(zip(_FIELDS, row, strict=True))
    return Sample(**values | {"slot": Slot(values["slot"]), "latency": json.loads(values["latency"])})


def _dump(counts: object) -> str:
    return json.dumps(counts, separators=(",", ":"))
