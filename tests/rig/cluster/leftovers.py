"""Every process of the rig carries a mark; by it they are found, and ended when the tests were killed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

MARK = "DAVY_RIG"
"""The environment variable that names the folder that a process works in."""
OF_CONTAINER = "DAVY_RIG_CONTAINER"
"""The one that tells which run of which container a process is part of."""

_REAPER = """
cat >/dev/null
for process in /proc/[0-9]*; do
    grep -qzxF "$1" "$process/environ" 2>/dev/null && kill -KILL "${process#/proc/}"
done
"""


def processes_of(folder: Path) -> list[int]:
    """The ids of the processes that carry the mark of *folder* or of one in it, zombies left out."""
    mark = f"{MARK}={folder}/".encode()
    return _processes(lambda each: (each + b"/").startswith(mark))


def end_container(run: str) -> None:
    """End all that a run of a container has left, in whatever session, as the end of its pid namespace would."""
    mark = f"{OF_CONTAINER}={run}".encode()
    for process in _processes(lambda each: each == mark):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _processes(carry: Callable[[bytes], bool]) -> list[int]:
    """The ids of the processes with such a variable."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(carry(each) for each in variables):
            found.append(int(process.name))
    return found


class Reaper:
    """Ends what carries the mark of *folder* when this process is killed and cannot do so itself."""

    def __init__(self, folder: Path) -> None:
        self._command = ["sh", "-c", _REAPER, "reaper", f"{MARK}={folder}"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        environment = {"PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(
            self._command, env=environment, stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
