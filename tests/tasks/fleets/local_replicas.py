"""Replicas that are processes of this machine: how a test runs them, and looks at them past the fleet."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from tasks.domain.model import Revision, Slot
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.fleets.local import LocalProcesses
from tasks.fleets.processes import starts
from tasks.journal import FileLease, take

SOON = timedelta(seconds=60)
BLUE = Revision("shop", Slot.BLUE, "v1")

Make = Callable[..., ServiceFile]


def pid_of(port: int) -> int:
    """The process that was last started for that port."""
    return starts(settings().replicas / f"{port}.json")[-1].pid


def listening(port: int) -> bool:
    """Whether anything answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def running(fleet: LocalProcesses, revision: Revision = BLUE, replicas: int = 1) -> list[int]:
    """Deploy and wait; the ports."""
    with lease_of(revision.service) as lease:
        fleet.deploy(revision, replicas, lease)
        fleet.wait_healthy(revision, replicas, SOON)
    return [replica.port for replica in fleet.observe() if replica.revision == revision]


@contextmanager
def lease_of(service: str) -> Iterator[FileLease]:
    """A release's of its own; given up afterwards."""
    lease = take(service, f"release-{time.monotonic_ns()}")
    yield lease
    lease.release_now()
