"""The journal of a release: an append-only file, one JSON line per event, chained by hash.

Anybody may append at any time, from any process, and no lock is held: a line counts when it
is the first that names the line before it. A writer that lost that race sees it when it
reads its line back, and writes again behind the winner. A torn line (a process killed while
it wrote) names nothing and is passed over; a line that was changed or taken out later breaks
the chain, which is an error.

A line written under a lease carries its epoch, and is refused when the journal already holds
a higher one: who lost the lease can't even say so.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.domain.errors import JournalError, LeaseLostError, TransientError

START = "0" * 64
"""What the first line names as the line before it."""
ATTEMPTS = 50


@dataclass(frozen=True)
class Line:
    """One event.

    Attributes:
        at: When it was written, aware UTC.
        epoch: The writer's lease; 0 for a request from outside the lease.
        kind: What happened (``intent``, ``outcome``, ``asked``, ``live``, ``check`` ...).
        key: Which step it belongs to; empty when to none.
        data: The event's own fields, JSON only.
        before: Hash of the line before.
    """

    at: datetime
    epoch: int
    kind: str
    key: str
    data: Mapping[str, Any]
    before: str

    @property
    def hash(self) -> str:
        """SHA-256 over everything the line says."""
        return hashlib.sha256(json.dumps(self._fields(), sort_keys=True).encode()).hexdigest()

    def encode(self) -> bytes:
        """The line as it stands in the file."""
        return json.dumps({**self._fields(), "hash": self.hash}).encode() + b"\n"

    def _fields(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "epoch": self.epoch,
            "kind": self.kind,
            "key": self.key,
            "data": dict(self.data),
            "before": self.before,
        }


class Journal:
    """One release's journal. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[Line] = []
        self._hashes = [START]
        self._known = {START}
        self._offset = 0
        self._torn = False
        self._lock = threading.RLock()

    @property
    def release(self) -> str:
        """The release's id."""
        return self.path.stem

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return bool(self.lines())

    def lines(self) -> list[Line]:
        """Every line that counts, oldest first.

        Raises:
            JournalError: The chain is broken; not retried.
        """
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    file.seek(self._offset)
                    rest = file.read()
            except FileNotFoundError:
                return []
            whole, _, tail = rest.rpartition(b"\n")
            self._torn = bool(tail)
            if whole:
                self._offset += len(whole) + 1
                for raw in whole.split(b"\n"):
                    self._take_in(raw)
            return list(self._lines)

    def append(self, kind: str, key: str = "", /, *, epoch: int = 0, **data: object) -> Line:
        """Write one line and make sure that it counts.

        Raises:
            LeaseLostError: A line of a higher epoch is there; not retried.
            TransientError: Others kept writing first; retried.
        """
        with self._lock:
            for _ in range(ATTEMPTS):
                newest = max((line.epoch for line in self.lines()), default=0)
                if epoch and epoch < newest:
                    msg = f"{self.release}: found epoch {newest} in the journal, expected at most {epoch}"
                    raise LeaseLostError(msg)
                line = Line(datetime.now(UTC), epoch, kind, key, _plain(data), self._hashes[-1])
                self._write(line.encode())
                self.lines()
                if line.hash in self._known:
                    return line
            msg = f"{self.release}: no line taken in {ATTEMPTS} attempts, expected one"
            raise TransientError(msg)

    def _write(self, encoded: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, b"\n" + encoded if self._torn else encoded)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _take_in(self, raw: bytes) -> None:
        line = self._decode(raw)
        if line is None or (line.before in self._known and line.before != self._hashes[-1]):
            return
        if line.before != self._hashes[-1]:
            msg = f"{self.path}: after line {len(self._lines)} found one that follows {line.before[:12]}, "
            msg += f"expected {self._hashes[-1][:12]}: a line was changed or removed"
            raise JournalError(msg)
        self._lines.append(line)
        self._hashes.append(line.hash)
        self._known.add(line.hash)

    def _decode(self, raw: bytes) -> Line | None:
        """A line as it stands; None for a torn one."""
        try:
            fields = json.loads(raw)
        except ValueError:
            return None
        try:
            stated, at = fields.pop("hash"), fields.pop("at")
            line = Line(at=datetime.fromisoformat(at), **fields)
            found = line.hash
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{self.path}: after line {len(self._lines)} found {raw[:80]!r}, expected a journal's line"
            raise JournalError(msg) from error
        if found != stated:
            msg = f"{self.path}: after line {len(self._lines)} found one with hash {found[:12]}, "
            msg += f"expected {stated[:12]}: it was changed"
            raise JournalError(msg)
        return line


def _plain(data: Mapping[str, object]) -> dict[str, Any]:
    """Only what JSON gives back as it was, so that a hash holds when read again."""
    plain: dict[str, Any] = json.loads(json.dumps(data, default=str))
    return plain
