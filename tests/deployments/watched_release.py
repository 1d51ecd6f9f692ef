"""A release that is under way in memory, and one look of the watcher at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.watcher import Watched
from tasks.domain.model import Revision, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of
from tasks.opening import open_release
from tasks.record import Record
from tasks.release import Carrier
from tests.rig.fakes import make_service, make_world
from tests.rig.world import World

CANDIDATE = Revision("shop", Slot.CANDIDATE, "v2")


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three stable replicas."""
    del home
    made = make_world(monkeypatch)
    made.have_stable(3)
    return made


def under_way(service: ServiceFile | None = None, release: str = "r1") -> Carrier:
    """A release whose candidate has half of the requests."""
    service = service or make_service("canary", analysis={"interval": "1ms"})
    carrier = open_release(release, "canary", service, "v2")
    candidate = Revision(service.service, Slot.CANDIDATE, "v2")
    carrier.fleet.deploy(candidate, 2, carrier.lease)
    carrier.publish(candidate)
    carrier.send(Traffic(Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})))
    return carrier


def record(service: str = "shop", release: str = "r1") -> Record:
    """A release as its journal has it now."""
    return Record.read(journal_of(service, release))


def look() -> Record:
    """One look of a watcher that was just started."""
    Watched(journal_of("shop", "r1")).look_once()
    return record()


def all_on_stable(world: World) -> bool:
    """Whether stable has all requests."""
    return world.traffic is not None and world.traffic.split == Split.all_to(Slot.BLUE)
