"""The mesh's access log: every request, and every copy of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Line:
    """One request.

    Attributes:
        at: When it came, epoch seconds.
        entry: The port that it came by.
        kind: ``mirror`` for a copy that nobody waits for, else empty.
        cluster: What it was sent to; empty for nowhere.
        upstream_host: Address and port of the pod's process that was tried last; empty for none.
        code: The status that the user got; 0 on a connection that was not looked into.
        flags: Envoy's word for what went wrong, ``-`` where nothing did.
        version: Which version says it answered; empty when the proxy did.
        duration: Milliseconds.
        attempts: How often it was sent to a pod.
        grpc: The gRPC status; None where it is no gRPC.
    """

    at: float
    entry: int
    kind: str
    cluster: str
    upstream_host: str
    code: int
    flags: str
    version: str
    duration: float
    method: str
    path: str
    host: str
    route: str
    attempts: int
    grpc: int | None

    @classmethod
    def read(cls, text: str) -> Self:
        """One line of the log."""
        found = json.loads(text)
        words = ("cluster", "upstream_host", "version", "method", "path", "host", "route")
        return cls(
            at=float(found["at"]),
            entry=int(found["entry"]),
            kind=found["kind"],
            code=int(found["code"] or 0),
            flags=found["flags"],
            duration=float(found["duration"] or 0),
            attempts=int(found["attempts"] or 0),
            grpc=found["grpc"] if isinstance(found["grpc"], int) else None,
            **{word: found[word] or "" for word in words},
        )


class Tail:
    """Reads a log as it grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0

    def lines(self) -> Iterator[Line]:
        """Every whole line that has come since this was asked last."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._at)
            whole, _, _ = file.read().rpartition(b"\n")
        for text in whole.splitlines():
            yield Line.read(text.decode())
            self._at += len(text) + 1


def lines_in(log: Path) -> list[Line]:
    """Every whole line that it has by now; Envoy flushes it twenty times a second."""
    return list(Tail(log).lines())
