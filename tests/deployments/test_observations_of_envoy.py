"""What the observer says of a bad version that had real users behind a real Envoy."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from deployments.observations import Observation, Stay, experience, observe
from infra.local.load import Load
from tasks.domain.model import Address, Slot, Split, Traffic, Window
from tasks.domain.settings import settings
from tasks.domain.spec import service_adapter
from tasks.domain.units import WHOLE
from tasks.journal.lease import FileLease, take
from tasks.routers.envoy import Envoy
from tasks.routers.envoy_bootstrap import bootstrap

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deployments" / "examples" / "shop-canary.yaml"
BAD = "2.0-errors"
DEADLINE = 30


@pytest.fixture
def processes(home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What the test starts; killed after it."""
    home.mkdir(parents=True)
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Site:
    """The canary example with good replicas in blue and a bad one as candidate, all users on blue."""

    router: Envoy
    lease: FileLease
    url: str
    log: Path
    began: datetime

    def shift(self, candidate: int) -> datetime:
        """Write the candidate's basis points; when they were served."""
        split = Split({Slot.BLUE: WHOLE - candidate, Slot.CANDIDATE: candidate})
        self.router.write(Traffic(split), self.lease)
        return datetime.now(UTC)

    def seen(self) -> Observation:
        """What the log says until now."""
        stays = [Stay(Slot.BLUE, "1.0", self.began), Stay(Slot.CANDIDATE, BAD, self.began)]
        return observe(self.log, "shop-canary", Window(self.began, datetime.now(UTC)), stays)

    def failed(self) -> int:
        """Requests that the bad version failed until now."""
        return self.seen().failed_by_version.get(BAD, 0)


@pytest.fixture
def site(
    processes: list[subprocess.Popen[bytes]], free_port: Callable[[], int], home: Path
) -> Iterator[Site]:
    """The site, its bad replica the last of the processes."""
    content = yaml.safe_load(EXAMPLE.read_text())
    content["router"]["port"] = port = free_port()
    processes.append(subprocess.Popen(bootstrap()))
    await_that(lambda: answers(settings().envoy_port, "/ready"))
    router, lease = Envoy(service_adapter.validate_python(content)), take("shop-canary", "one")
    router.register(lease)
    for slot, versions in {Slot.BLUE: ("1.0", "1.0"), Slot.CANDIDATE: (BAD,)}.items():
        addresses = [start(version, free_port(), home, processes) for version in versions]
        router.publish(slot, addresses, lease)
    log = home / "logs" / "shop-canary.access.log"
    site = Site(router, lease, f"http://127.0.0.1:{port}", log, datetime.now(UTC))
    site.shift(0)
    yield site
    lease.release_now()


def test_a_bad_version_is_blamed_for_all_that_users_saw(
    site: Site, processes: list[subprocess.Popen[bytes]], home: Path
) -> None:
    record = home / "load.jsonl"
    with Load([site.url], rate=100, seconds=60, record=record):
        await_that(site.log.exists)
        site.shift(2000)
        await_that(lambda: site.failed() >= 3)
        own = site.failed()
        processes[-1].kill()  # from now on the proxy answers in its place
        await_that(lambda: site.failed() >= own + 10)
        back = site.shift(0)
        before = site.seen().requests
        await_that(lambda: site.seen().requests >= before + 200)
    users = experience(record, Window(site.began, datetime.now(UTC)), site.url)
    await_that(lambda: site.seen().requests == users.requests)

    seen = site.seen()
    assert seen.failed_by_version == {BAD: len(users.failures)}
    assert 10 < seen.largest_share[BAD] < 50
    assert seen.largest_share["1.0"] == 100
    first, last = seen.first_error(BAD), seen.last_answer(BAD)
    assert first is not None
    assert last is not None
    assert site.began < first < last < back + timedelta(seconds=5)


def start(version: str, port: int, home: Path, processes: list[subprocess.Popen[bytes]]) -> Address:
    """Start a replica; return once it is healthy."""
    options = [f"--port={port}", f"--version={version}", f"--database={home / 'shop.sqlite'}"]
    processes.append(subprocess.Popen([sys.executable, ROOT / "infra" / "local" / "shop.py", *options]))
    await_that(lambda: answers(port, "/health"))
    return Address("127.0.0.1", port)


def answers(port: int, path: str) -> bool:
    """Whether a good answer comes from there."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}").is_success
    except httpx.TransportError:
        return False


def await_that(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
