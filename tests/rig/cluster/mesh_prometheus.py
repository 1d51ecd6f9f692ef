"""A real Prometheus that scrapes the rig."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Collection
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

import yaml

ROOT = Path(__file__).parents[3]
UNPACKED = ROOT / ".davy" / "ci" / "usr" / "bin" / "prometheus"
"""Where CI unpacks Debian's package."""
READY_WITHIN = 60


def program() -> str | None:
    """The server's program, on PATH or where CI has unpacked it; None if there is none."""
    return shutil.which("prometheus") or (str(UNPACKED) if UNPACKED.exists() else None)


class Prometheus:
    """The server, until it is left; its first samples come some 5 s after its start.

    Args:
        targets: HOST:PORT of what is scraped.

    Attributes:
        url: Where it answers.
    """

    def __init__(self, folder: Path, port: int, targets: Collection[str], interval: str = "500ms") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        static = [{"targets": sorted(targets)}]
        self._config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [{"job_name": "mesh", "static_configs": static}],
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            FileNotFoundError: There is no such program; not retried.
            TimeoutError: It is not ready in time; not retried.
        """
        found = program()
        if found is None:
            msg = "prometheus: found none on PATH, expected the server's program"
            raise FileNotFoundError(msg)
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config))
        options = [f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}"]
        options.append(f"--web.listen-address=127.0.0.1:{self._port}")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen([found, *options], stdout=log, stderr=log)
        try:
            self._await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not self._is_ready():
            if time.monotonic() > deadline:
                msg = f"prometheus: not ready within {READY_WITHIN} s; see {self._folder / 'log'}"
                raise TimeoutError(msg)
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
