"""Fleet, router and metrics over a `World`: they keep the ports' promises, in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from datetime import timedelta
from functools import partial
from typing import Any

import pandas as pd
import pytest

from tasks.domain.errors import UnhealthyError
from tasks.domain.model import Address, Change, Health, Lease, Replica, Revision, Slot, Split, Traffic, Window
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.fleets import FLEETS
from tasks.journal import Journal
from tasks.metrics import SOURCES
from tasks.metrics.base import DRAWN, ERRORS, MIRRORED, MIRRORED_ERRORS, REQUESTS
from tasks.release import Carrier
from tasks.routers import ROUTERS
from tests.rig.world import Died, World

REQUESTS_SEEN = 10_000
"""How many requests a fetch shows in all: one per basis point."""


class FakeFleet:
    """`Fleet` over a `World`."""

    def __init__(self, world: World) -> None:
        self.world = world

    def check(self, version: str) -> None:
        """Every version can be deployed."""

    def changes(self, revision: Revision, replicas: int) -> tuple[Change, ...]:
        """Nothing can be known before."""
        del revision, replicas
        return ()

    def answer(self, replica: Replica, path: str, within: timedelta) -> str:
        """Every replica is well."""
        del replica, path, within
        return "200"

    def observe(self) -> tuple[Replica, ...]:
        """See `Fleet.observe`."""
        if self.world.dead:
            raise Died("observe")
        there = list(self.world.running.values())  # at once: other threads start and stop meanwhile
        everything = [r for replicas in there for r in replicas]
        return tuple(sorted(everything, key=lambda r: (r.revision, r.number)))

    def deploy(self, revision: Revision, replicas: int, lease: Lease) -> None:
        """See `Fleet.deploy`; each copy that comes or goes is a change of its own."""
        here = sorted(r.number for r in self.world.running.get(revision, []))
        missing = [n for n in range(1, replicas + 1) if n not in here[:replicas]]
        for number in missing[: replicas - len(here[:replicas])]:
            lease.check()
            self.world.change(f"start {revision} {number}", partial(self.world.start, revision, number))
        for number in reversed(here[replicas:]):
            lease.check()
            self.world.change(f"stop {revision} {number}", partial(self.world.stop, revision, number))

    def wait_healthy(self, revision: Revision, replicas: int, within: timedelta) -> None:
        """See `Fleet.wait_healthy`."""
        del within
        here = [r for r in self.observe() if r.revision == revision and r.health is Health.HEALTHY]
        if len(here) < replicas:
            msg = f"{revision}: {len(here)} healthy, expected {replicas}"
            raise UnhealthyError(msg)

    def retire(self, revision: Revision, lease: Lease) -> None:
        """See `Fleet.retire`."""
        for replica in reversed(self.world.running.get(revision, [])):
            lease.check()
            stop = partial(self.world.stop, revision, replica.number)
            self.world.change(f"stop {revision} {replica.number}", stop)


class FakeRouter:
    """`Router` over a `World`."""

    def __init__(self, world: World) -> None:
        self.world = world

    asks_proxies = True

    def check(self) -> None:
        """Every port is free."""

    def changes(self) -> tuple[Change, ...]:
        """Nothing can be known before."""
        return ()

    def give_back(self, lease: Lease) -> bool:
        """Nothing is anybody else's."""
        del lease
        return True

    def preview_url(self) -> str | None:
        """There is none."""
        return None

    def register(self, lease: Lease) -> None:
        """See `Router.register`."""
        lease.check()
        self.world.change("register")

    def live(self) -> Split | None:
        """See `Router.live`."""
        if self.world.dead:
            raise Died("live")
        return self.world.traffic.split if self.world.traffic else None

    def write(self, traffic: Traffic, lease: Lease) -> Split:
        """See `Router.write`."""
        lease.check()
        self.world.change(f"write {traffic.split}", partial(setattr, self.world, "traffic", traffic))
        return traffic.split

    def publish(self, slot: Slot, addresses: Collection[Address], lease: Lease) -> None:
        """See `Router.publish`."""
        lease.check()
        put = partial(self.world.published.__setitem__, slot, tuple(sorted(addresses)))
        self.world.change(f"publish {slot} {len(addresses)}", put)

    def published(self, slot: Slot) -> tuple[Address, ...]:
        """See `Router.published`."""
        return self.world.published.get(slot, ())

    def drain(self, slot: Slot, within: timedelta) -> bool:
        """Nothing is ever in flight."""
        del slot, within
        return not self.world.dead


class FakeMetrics:
    """`MetricSource` over a `World`: each slot got exactly its live share."""

    def __init__(self, service: ServiceFile) -> None:
        self.world = WORLDS[service.service]

    def fetch(self, slots: Collection[Slot], window: Window) -> pd.DataFrame:
        """See `MetricSource.fetch`; one sample, at the end of the window."""
        if self.world.dead:
            raise Died("fetch")
        cells = {(str(slot), name): [value] for slot in slots for name, value in self._figures(slot).items()}
        columns = pd.MultiIndex.from_tuples(list(cells), names=["slot", "measure"])
        at = pd.DatetimeIndex([window.end], name="at").as_unit("ms")
        frame = pd.DataFrame(cells, index=at, columns=columns, dtype="float64")
        return frame.iloc[:0] if self.world.silent else frame

    def _figures(self, slot: Slot) -> dict[str, float]:
        traffic = self.world.traffic or Traffic(Split.all_to(Slot.BLUE))
        requests = float(traffic.split[slot] * REQUESTS_SEEN // 10_000)
        copies = float(REQUESTS_SEEN if traffic.mirror == slot else 0)
        versions = [revision.version for revision in self.world.running if revision.slot == slot]
        part = max((self.world.errors.get(version, 0.0) for version in versions), default=0.0)
        return {
            REQUESTS: requests,
            ERRORS: requests * part,
            DRAWN: requests,
            MIRRORED: copies,
            MIRRORED_ERRORS: copies * part,
        }


WORLDS: dict[str, World] = {}
"""The worlds of the test that runs, by service."""


def fake_fleet(service: ServiceFile) -> FakeFleet:
    """The fleet of the service's world."""
    return FakeFleet(WORLDS[service.service])


def fake_router(service: ServiceFile) -> FakeRouter:
    """The router of the service's world."""
    return FakeRouter(WORLDS[service.service])


def make_world(monkeypatch: pytest.MonkeyPatch, name: str = "shop") -> World:
    """A world for the service *name*, put where Davy looks for fleets, routers and metrics.

    Journal lines count as changes too. Needs the fixture `home`.
    """
    monkeypatch.setitem(WORLDS, name, World(name))
    monkeypatch.setitem(FLEETS, "local", "tests.rig.fakes:fake_fleet")
    monkeypatch.setitem(ROUTERS, "envoy", "tests.rig.fakes:fake_router")
    monkeypatch.setitem(SOURCES, "envoy", "tests.rig.fakes:FakeMetrics")
    monkeypatch.setattr(Carrier, "_here", {})
    monkeypatch.setattr(Journal, "append", _counted_append)
    watcher_is_alive()
    return WORLDS[name]


_append = Journal.append


def _counted_append(journal: Journal, kind: str, key: str = "", /, **data: Any) -> Any:  # noqa: ANN401
    world = WORLDS.get(journal.path.parent.name)
    if world:
        world.change(f"journal {kind} {key}")
    return _append(journal, kind, key, **data)


def watcher_is_alive() -> None:
    """A pulse that stays fresh for the whole test."""
    settings().root.mkdir(parents=True, exist_ok=True)
    settings().watcher_pulse.touch()
    later = time.time() + 3600
    os.utime(settings().watcher_pulse, (later, later))


def make_service(strategy: str, name: str = "shop", **more: object) -> ServiceFile:
    """A service file of *strategy* whose clocks are a millisecond."""
    clocks: dict[str, dict[str, object]] = {
        "rolling": {"bake": "1ms"},
        "blue-green": {"watch": "1ms", "scale_down_delay": "0s", "preview": {"requests": 1}},
        "blue-green-canary": {
            "watch": "1ms",
            "scale_down_delay": "0s",
            "trickle": {"share": 5, "bake": "1ms"},
            "preview": {"requests": 1},
        },
        "canary": {
            "watch": "1ms",
            "scale_down_delay": "0s",
            "steps": [{"share": share, "bake": "1ms"} for share in (5, 25, 50)],
        },
        "rollback": {},
    }
    base: dict[str, object] = {
        "service": name,
        "strategy": strategy,
        "replicas": 4,
        "fleet": {"command": "serve {port}"},
        "router": {"port": 18080},
        "abort_scale_down_delay": "0s",
    }
    return service_adapter.validate_python(base | clocks[strategy] | more)
