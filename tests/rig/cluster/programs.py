"""Programs that run beside the tests until they are left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.rig.cluster.leftovers import MARK, Reaper


class Programs:
    """Started by name, each with a log in *folder*; whatever happens, none outlives the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reaper = Reaper(folder)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._reaper.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """None of their data is kept, so they need not end gently."""
        for process in reversed(self._processes.values()):
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._reaper.__exit__()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Begin a program; its log goes on where one of the same name stopped."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), MARK: str(self._folder)}
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal; one that kills is waited for."""
        process = self._processes[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()

    def check(self) -> None:
        """Fail with the end of its log if one of them has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                end = self._log(name).read_text(errors="replace")[-2000:]
                message = f"{name}: ended with {process.returncode} at its start: {end}"
                raise AssertionError(message)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
