"""Become one program of the supervisor, and note that it started.

The supervisor runs this file for each program. It reads the program's record, appends its
process id and the time to the ``.starts`` file beside the record, and turns into the program (`os.execve`:
same process, nothing stays in between). Four reasons for it:

- The supervisor does not count restarts; the lines of ``.starts`` do, whoever looks or dies.
- The supervisor's configuration cannot hold every value (quotes, percent signs); a record can.
- When a program was killed, the processes that it had started may still hold its port; they
  are ended before it comes back.
- The supervisor gives all that it has in its environment; a record says what of it is not for the program.

It runs without the project on its path, so that a start costs about 20 ms: standard library
only, and psutil where something has to be ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

MARK = "DAVY_PROGRAM"
"""In the environment of a program and of all that it starts: the path of its record."""
_KILLED_WITHIN = 10
"""Seconds that processes may take to end by SIGKILL, on a busy machine."""


def become(record: Path) -> None:
    """Turn into the program of *record*; does not return."""
    program = json.loads(record.read_text())
    mark = str(record.resolve())
    starts = record.with_suffix(".starts")
    came_back = starts.exists() and starts.stat().st_size > 0
    with starts.open("a") as lines:
        lines.write(f"{os.getpid()} {time.time()}\n")
    if came_back and program["orphans"] == "end":
        _kill([process for process, its in marked().items() if its == mark])
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    os.chdir(program["directory"])
    hidden = program.get("without", ())  # records outlive an update
    inherited = {name: text for name, text in os.environ.items() if not _is_one_of(name, hidden)}
    environment = inherited | program["environment"] | {MARK: mark}
    os.execve(program["command"][0], program["command"], environment)  # noqa: S606 - no shell is wanted


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _kill(processes: list[psutil.Process]) -> None:
    """Kill these; return once they hold no port any more."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _KILLED_WITHIN
    while any(map(lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.01)


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended; one that ended and that nobody has waited for does not live."""
    import psutil  # noqa: PLC0415 - the first start of a program does without

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def marked() -> dict[psutil.Process, str]:
    """Marks by process, without this process and those that it runs in."""
    import psutil  # noqa: PLC0415 - the first start of a program does without

    here = psutil.Process()
    found = {}
    for process in set(psutil.process_iter()) - {here, *here.parents()}:
        try:
            environment = process.environ()
        except psutil.Error:  # it ended meanwhile, or is another user's
            continue
        if MARK in environment:
            found[process] = environment[MARK]
    return found


if __name__ == "__main__":
    become(Path(sys.argv[1]))
