"""split-live: from asking for a split to its being live and verified, beside the proxy's own time.

The proxy's own time is taken in the same run, by turns with Davy's: from the rename of its
file to the first request that the new split answers, asked for in a tight loop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import cycle, islice
from statistics import median

from infra.local.load import Load
from tasks.domain.model import Slot, Split, Traffic
from tasks.journal import FileLease, take
from tasks.routers import envoy_files as files
from tasks.routers.envoy import Envoy
from tasks.routers.envoy_config import route_file
from tasks.routers.envoy_routes import routes_of
from tests.benchmarks.bench import Bench
from tests.benchmarks.figure import Figure, percentile_99
from tests.tasks.routers.rig import Replicas, service_of

WRITES = 200
RATE = 40
"""Requests per second meanwhile."""
NAME = "split-live"
LONGEST = 120
"""Seconds after which the load ends by itself."""
TAKEN_UP = 5.0
"""Seconds that the proxy may take."""


@dataclass(frozen=True)
class Routed:
    """A service with one replica in each of two slots, and the right to split its requests."""

    port: int
    router: Envoy
    lease: FileLease


def measure(bench: Bench) -> list[Figure]:
    """Each write moves all requests to the other slot; every other one is the proxy's alone."""
    davys, proxys = [], []
    with routed(bench) as service, Load([url(service)], rate=RATE, seconds=LONGEST, record=record(bench)):
        for slot in islice(cycle((Slot.GREEN, Slot.BLUE)), 2 * WRITES):
            pass
    return []
