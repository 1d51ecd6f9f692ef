"""The embedded stack as a person runs it: the `davy` command, in a state folder of its own."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

ROOT = Path(__file__).parents[2]
Answer = TypeVar("Answer")

ROLES = {
    "flow": "davy: flow run",
    "runner": "-m deployments.runner releases",
    "server": "-m deployments.prefect_server",
    "watcher": "-m deployments.watcher",
    "envoy": "--config-path",
}
"""What the command line of each part has in it."""
_BASES = range(11000, 31000, 500)
"""Where a session's own ports begin; below the ports that the system gives to clients."""
_WORKERS = 4
"""How many workers of one test run have bases of their own."""
_REPLICAS = 300
"""How many of its ports are for replicas."""


def await_that(ask: Callable[[], Answer | None], within: float = 60, what: str = "") -> Answer:
    """Ask until the answer is true-like; give it.

    Args:
        within: Seconds after which the test fails.
        what: What is waited for, for the failure's message.
    """
    deadline = time.monotonic() + within
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what or ask}: not within {within} s"
        time.sleep(0.05)
    return answer


@dataclass(frozen=True)
class Said:
    """What a finished command said.

    Attributes:
        at: When it ended, epoch seconds.
    """

    code: int
    out: str
    err: str
    at: float

    @property
    def json(self) -> Any:  # noqa: ANN401 - each verb's own result
        """Its standard output, of a command with ``--json``."""
        assert self.out, self
        return json.loads(self.out)


class Running:
    """A command under way; it is killed when it takes too long.

    Args:
        within: Seconds that it may take.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], within: float = 240) -> None:
        self._command, self._environment, self._within = command, environment, within
        self._pool = ThreadPoolExecutor(1)
        self._said = self._pool.submit(self._follow)
        self._pool.shutdown(wait=False)

    def wait(self) -> Said:
        """Return once it has ended."""
        return self._said.result()

    def _follow(self) -> Said:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            self._command, env=self._environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True
        ) as process:
            late = ""
            try:
                out, err = process.communicate(timeout=self._within)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                late = f"\n(killed by the test after {self._within} s)"
        return Said(process.returncode, out, err + late, time.time())


@dataclass
class Davy:
    """One state folder with its ports, and the commands that work on it."""

    home: Path
    ports: Iterator[int]
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def in_folder(cls, folder: Path) -> Davy:
        """With ports that are free now, and that nobody else is likely to take."""
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        base = random.choice(_BASES[worker % _WORKERS :: _WORKERS])
        ports = filter(_is_free, range(base + _REPLICAS, base + _BASES.step))
        own = {
            f"DAVY_{name}_PORT": str(next(ports)) for name in ("PREFECT", "SUPERVISOR", "ENVOY", "APPROVALS")
        }
        own |= {"DAVY_HOME": str(folder / "davy"), "DAVY_REPLICA_PORTS": f"[{base}, {base + _REPLICAS - 1}]"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return cls(folder / "davy", ports, os.environ | own | {"PATH": path})

    @property
    def envoy_port(self) -> int:
        """Envoy's admin interface."""
        return int(self.environment["DAVY_ENVOY_PORT"])

    def start(self, *words: str) -> Running:
        """Begin a command: ``start("release", file, "--version", "1.0")``.

        It leaves the processor to the users and to who looks at them, unless it starts what serves them.
        """
        yielding = () if words[0] == "up" else ("nice", "-n", "10")
        return Running([*yielding, sys.executable, "-m", "deployments.cli", *words], self.environment)

    def run(self, *words: str) -> Said:
        """Carry a command out."""
        return self.start(*words).wait()

    def python(self, *words: str) -> Said:
        """Run a Python module with the stack's settings."""
        return Running([sys.executable, *words], self.environment).wait()

    def processes(self, role: str = "") -> list[psutil.Process]:
        """Every process that lives and works on this state folder; only those of a role, if given."""
        return [process for process in psutil.process_iter() if self._is_ours(process, ROLES.get(role, ""))]

    def part(self, role: str) -> psutil.Process:
        """The one process of a part of the stack."""
        return await_that(lambda: self.processes(role), what=role)[0]

    def flow(self, service: str) -> psutil.Process:
        """The process that carries the release of *service*."""
        return await_that(lambda: self._flow(service), what=f"flow of {service}")

    def run_of(self, process: psutil.Process) -> dict[str, Any]:
        """What Prefect knows of a flow's process."""
        return self.prefect_run(process.cmdline()[0].split()[-1])

    def prefect_run(self, run: str) -> dict[str, Any]:
        """What Prefect knows of a flow run."""
        url = f"http://127.0.0.1:{self.environment['DAVY_PREFECT_PORT']}/api/flow_runs/{run}"
        found: dict[str, Any] = httpx.get(url, timeout=20).raise_for_status().json()
        return found

    def _flow(self, service: str) -> psutil.Process | None:
        for process in self.processes("flow"):
            with suppress(psutil.Error, httpx.HTTPError):
                asked = self.run_of(process)["parameters"]["service"]
                if service == (asked if isinstance(asked, str) else asked["service"]):
                    return process
        return None

    def _is_ours(self, process: psutil.Process, words: str) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            said = words in " ".join(process.cmdline())
            return said and process.environ().get("DAVY_HOME") == str(self.home)
        except psutil.Error:
            return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
