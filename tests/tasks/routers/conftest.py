"""A running Envoy, replicas, and a service that has both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.domain.model import Slot, Split, Traffic
from tasks.journal.lease import take
from tasks.routers.envoy import Envoy
from tests.rig.cluster.fixtures import cluster, control_plane, crds, namespace
from tests.tasks.routers.borrowing import borrowed, quick, stage
from tests.tasks.routers.rig import Proxy, Replicas, Shop, service_of
from tests.tasks.routers.selecting import exclusive, shared

__all__ = [
    "borrowed",
    "cluster",
    "control_plane",
    "crds",
    "exclusive",
    "namespace",
    "quick",
    "shared",
    "stage",
]


@pytest.fixture
def replicas(free_port: Callable[[], int]) -> Iterator[Replicas]:
    """Starts replicas; ends them after the test."""
    running = Replicas(free_port)
    yield running
    running.stop()


@pytest.fixture
def proxy(home: Path) -> Iterator[Proxy]:
    """A running Envoy that knows no service yet."""
    del home
    running = Proxy()
    running.start()
    yield running
    running.kill()


@pytest.fixture
def shop(proxy: Proxy, replicas: Replicas, free_port: Callable[[], int]) -> Iterator[Shop]:
    """The service ``shop``, all of its requests going to blue."""
    del proxy
    port, preview_port = free_port(), free_port()
    router = Envoy(service_of("shop", port, preview_port=preview_port, access_log=True))
    lease = take("shop", "first")
    router.register(lease)
    blue, candidate = replicas.start("v1"), replicas.start("v2")
    router.publish(Slot.BLUE, [blue], lease)
    router.publish(Slot.CANDIDATE, [candidate], lease)
    router.write(Traffic(Split.all_to(Slot.BLUE)), lease)
    yield Shop(port, preview_port, router, lease, replicas, blue, candidate)
    lease.release_now()
