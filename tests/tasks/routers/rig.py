"""A real Envoy, real replicas and users of them, for tests."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tasks.domain.model import Address, Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.domain.spec import BlueGreen
from tasks.domain.units import WHOLE
from tasks.journal.lease import FileLease
from tasks.routers.envoy import Envoy
from tasks.routers.envoy_bootstrap import bootstrap

PATIENCE = 20.0
"""Seconds until a test gives up waiting; the machine may be busy."""


@dataclass(frozen=True)
class Answer:
    """What a user got."""

    status: int
    version: str | None
    cookie: str | None
    text: str


def ask(port: int, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        text = response.read().decode()
        return Answer(
            response.status, response.getheader("x-version"), response.getheader("set-cookie"), text
        )
    finally:
        connection.close()


def eventually(done: Callable[[], bool], what: str) -> None:
    """Wait until *done*, which may also fail with a refused connection."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if done():
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    pytest.fail(f"not in {PATIENCE} s: {what}")


class Replicas:
    """Replicas as processes of their own."""

    def __init__(self, free_port: Callable[[], int]) -> None:
        self._free_port = free_port
        self._processes: dict[Address, subprocess.Popen[bytes]] = {}

    def start(self, version: str) -> Address:
        """A new replica that answers."""
        address = Address("127.0.0.1", self._free_port())
        script = Path(__file__).parent / "replica.py"
        self._processes[address] = subprocess.Popen([sys.executable, str(script), str(address.port), version])
        eventually(lambda: ask(address.port, "/health").status == 200, f"{version} answers")
        return address

    def kill(self, address: Address) -> None:
        """End a replica at once."""
        process = self._processes.pop(address)
        process.kill()
        process.wait()

    def seen(self, address: Address) -> dict[str, int]:
        """How many requests and copies it had."""
        return dict(json.loads(ask(address.port, "/seen").text))

    def stop(self) -> None:
        """End all that run."""
        for address in list(self._processes):
            self.kill(address)


class Proxy:
    """The Envoy of one test."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it as `davy up` does, until it is ready."""
        self._process = subprocess.Popen(bootstrap())
        eventually(lambda: ask(settings().envoy_port, "/ready").status == 200, "Envoy is ready")

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def counter(self, name: str) -> int:
        """A counter or gauge, by its whole name."""
        text = ask(settings().envoy_port, f"/stats?filter=^{name}$").text
        return int(text.rpartition(": ")[2] or 0)


@dataclass
class Load:
    """Users who ask all the time, each on a connection that stays open."""

    port: int
    users: int = 4
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    limit: float = 60.0

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._end = time.monotonic() + self.limit
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.users)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        """Requests so far."""
        return self.answers.total() + len(self.failures)

    def more(self, requests: int) -> None:
        """Wait until so many more requests were made."""
        goal = self.total + requests
        eventually(lambda: self.total >= goal, f"{requests} more requests")

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        while not self._stop.is_set() and time.monotonic() < self._end:
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                text = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if response.status == 200:
                self.answers[text] += 1
            else:
                self.failures.append(f"{response.status} {text}")
        connection.close()


def service_of(name: str, port: int, **router: object) -> BlueGreen:
    """A service whose replicas tests start themselves."""
    health = {"path": "/health", "interval": "1s", "timeout": "1s"}
    return BlueGreen.model_validate(
        {
            "service": name,
            "strategy": "blue-green",
            "fleet": {"command": "not used here", "health": health},
            "router": {"port": port, **router},
        }
    )


@dataclass(frozen=True)
class Shop:
    """A registered service with a replica of v1 in blue and one of v2 in the candidate's slot."""

    port: int
    preview_port: int
    router: Envoy
    lease: FileLease
    replicas: Replicas
    blue: Address
    candidate: Address

    def split(self, candidate: int) -> Split:
        """Basis points for the candidate, the rest for blue."""
        return Split({Slot.BLUE: WHOLE - candidate, Slot.CANDIDATE: candidate})

    def shift(self, candidate: int) -> None:
        """Write a split without anything beside it."""
        self.router.write(Traffic(self.split(candidate)), self.lease)

    def versions(self, requests: int, headers: Mapping[str, str] | None = None) -> Counter[str]:
        """Who answered so many requests, each of which must succeed."""
        answers = [ask(self.port, headers=headers) for _ in range(requests)]
        assert {answer.status for answer in answers} == {200}
        return Counter(answer.text for answer in answers)
