"""split-live: from asking for a split to its being live and verified, beside the proxy's own time.

The proxy's own time is taken in the same run, by turns with Davy's: from the rename of its
file until its statistics name the file's version, asked for in a tight loop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from statistics import median
from typing import Self

from infra.local.load import Load
from tasks.domain.model import Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.journal import FileLease, take
from tasks.routers import envoy_files as files
from tasks.routers.envoy import Envoy
from tasks.routers.envoy_config import route_file
from tasks.routers.envoy_leave import unregister
from tasks.routers.envoy_routes import routes_of
from tests.benchmarks.bench import Bench
from tests.benchmarks.figure import Figure, percentile_99
from tests.tasks.routers.rig import Replicas, service_of

NAME = "split-live"
WRITES = 200
DAVYS = Traffic(Split({Slot.BLUE: 9_000, Slot.GREEN: 1_000}))
PROXYS = Traffic(Split({Slot.BLUE: 5_000, Slot.GREEN: 5_000}))
RATE = 40
"""Requests per second meanwhile."""
LONGEST = 120
"""Seconds after which the load ends by itself."""
TAKEN_UP = 5.0
"""Seconds that the proxy may take; more is an error."""


@dataclass(frozen=True)
class Routed:
    """A service that Envoy knows, and the right to split its requests."""

    file: ServiceFile
    router: Envoy
    lease: FileLease


class Admin:
    """Envoy's statistics over one open connection."""

    def __init__(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", settings().envoy_port, timeout=TAKEN_UP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def version(self) -> str:
        """The version of the routes that Envoy has taken up, as it writes it."""
        self._connection.request("GET", f"/stats?filter=^http\\.{NAME}\\.rds\\.{NAME}\\.version_text$")
        return self._connection.getresponse().read().decode()


def measure(bench: Bench) -> list[Figure]:
    """One write by Davy, one by the proxy alone, and so on."""
    davys, proxys = [], []
    with routed(bench) as service, Admin() as admin:
        for _ in range(WRITES):
            davys.append(write(service))
            proxys.append(take_up(service, admin))
    middle, worst = f"median of {WRITES} writes", f"p99 of {WRITES} writes"
    return [
        Figure(NAME, middle, median(davys), median(proxys), "ms", "the proxy's own median"),
        Figure(NAME, worst, percentile_99(davys), percentile_99(proxys), "ms", "the proxy's own p99"),
    ]


def write(service: Routed) -> float:
    """Milliseconds that Davy takes."""
    began = time.perf_counter()
    service.router.write(DAVYS, service.lease)
    return (time.perf_counter() - began) * 1000


def take_up(service: Routed, admin: Admin) -> float:
    """Milliseconds that the proxy takes: all that can be prepared is, before the clock runs."""
    [(name, config)] = routes_of(service.file, PROXYS).items()
    content = files.renewed(None, config, service.lease)
    path = files.epoch_folder(NAME, service.lease) / route_file(name)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    poke = files.service_folder(NAME) / ".poke.new"
    poke.write_text("{}")
    began = time.perf_counter()
    new.replace(path)
    poke.replace(poke.with_name(".poke"))
    while content["version_info"] not in admin.version():
        assert time.perf_counter() < began + TAKEN_UP, content["version_info"]
    return (time.perf_counter() - began) * 1000


@contextmanager
def routed(bench: Bench) -> Iterator[Routed]:
    """A replica in each of two slots, users, and no release."""
    port, replicas = next(bench.davy.ports), Replicas(lambda: next(bench.davy.ports))
    file = service_of(NAME, port)
    service = Routed(file, Envoy(file), take(NAME, "bench"))
    try:
        service.router.register(service.lease)
        for slot in (Slot.BLUE, Slot.GREEN):
            service.router.publish(slot, [replicas.start(slot)], service.lease)
        write(service)
        record = bench.davy.home.parent / f"{NAME}.jsonl"
        with Load([f"http://127.0.0.1:{port}"], rate=RATE, seconds=LONGEST, record=record):
            yield service
        unregister(NAME)
    finally:
        replicas.stop()
        service.lease.release_now()
