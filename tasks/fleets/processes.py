"""Processes of the supervisor's programs, also those that it lost, known by our own notes only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from tasks.domain.errors import TransientError
from tasks.domain.settings import settings
from tasks.fleets import launch

_KILLED_WITHIN = timedelta(seconds=10)
"""How long a process may take to end by SIGKILL, on a busy machine."""
_POLL = 0.05
_LOG_LINES = 5
_LOG_TAIL = 65536


@dataclass(frozen=True)
class Start:
    """One start of a program: the process, and when it noted itself (seconds since 1970)."""

    pid: int
    noted: float

    def process(self) -> psutil.Process | None:
        """The process, if it still lives; one of its id that began after the note is a stranger."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() < self.noted + 1 else None
        except psutil.Error:
            return None


def starts(record: Path) -> list[Start]:
    """A program's starts, oldest first."""
    try:
        lines = record.with_suffix(".starts").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Start(int(pid), float(noted)) for pid, noted in map(str.split, lines)]


def family(records: Collection[Path]) -> set[psutil.Process]:
    """The processes of these programs, with all that they have started, by our own notes."""
    marks = {str(record.resolve()) for record in records}
    found = {process for process, mark in launch.marked().items() if mark in marks}
    for record in records:
        for process in filter(None, (start.process() for start in starts(record)[-1:])):
            found |= {process, *_descendants(process)}
    return found


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def end(processes: Collection[psutil.Process], stop_within: timedelta) -> None:
    """SIGTERM, and SIGKILL for those left after *stop_within*; return once none is left.

    Raises:
        TransientError: One does not even end by SIGKILL; retried.
    """
    for send, within in ((psutil.Process.terminate, stop_within), (psutil.Process.kill, _KILLED_WITHIN)):
        for process in filter(launch.lives, processes):
            _signal(process, send)
        deadline = time.monotonic() + within.total_seconds()
        while any(map(launch.lives, processes)) and time.monotonic() < deadline:
            time.sleep(_POLL)
    if left := [process.pid for process in processes if launch.lives(process)]:
        msg = f"processes {left}: still there after SIGKILL, expected them to end"
        raise TransientError(msg)


def _signal(process: psutil.Process, send: Callable[[psutil.Process], None]) -> None:
    try:
        send(process)
    except psutil.Error:  # it ended meanwhile, or may not be ended by this user
        return


def last_words(name: str) -> str:
    """How a program last ended, and the last lines of its log."""
    logs = settings().root / "logs"
    ends = re.findall(rf"exited: {re.escape(name)} \(([^;)]+)", _tail(logs / "supervisord.log"))
    lines = [line for line in _tail(logs / f"{name}.log").splitlines() if line.strip()][-_LOG_LINES:]
    return f"{ends[-1] if ends else 'ended'}; its log ends: {' | '.join(lines) or '(empty)'}"


def _tail(path: Path, size: int = _LOG_TAIL) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
