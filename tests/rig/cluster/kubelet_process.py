"""A container's process on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.rig.stack import ROOT


class Process:
    """It runs from the start, in a session of its own, and writes to a log; used in an event loop.

    Args:
        folder: Where it works; None stands for the project's.

    Raises:
        OSError: There is no such program.

    Attributes:
        ended: Becomes its exit code, 128 and the number if a signal ended it.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: str | None
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder or ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._descriptor = os.pidfd_open(self.pid)
        self._loop.add_reader(self._descriptor, self._reap)

    async def ends_within(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it came in time."""
        done, _ = await asyncio.wait([self.ended], timeout=seconds)
        return bool(done)

    def terminate(self) -> None:
        """Ask it to end."""
        if not self.ended.done():
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started; returns once it is gone."""
        if not self.ended.done():
            self._process.kill()
            self._reap()

    def _reap(self) -> None:
        """Nothing of a container outlives its first process."""
        if self.ended.done():
            return
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        os.waitid(
            os.P_PID, self.pid, os.WEXITED | os.WNOWAIT
        )  # its group cannot be another's until it is reaped
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self.ended.set_result(128 - code if code < 0 else code)
