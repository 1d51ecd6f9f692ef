"""A shop whose users come by a Service, with the router that has it select the pods that are to get requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.cluster.cluster import Json
from tasks.cluster.kinds import POD, SERVICE
from tasks.domain.model import Slot, Split, Traffic
from tasks.journal import FileLease, take
from tasks.routers.replicas import Replicas
from tests.rig.cluster.control_plane import Cluster as Api
from tests.tasks.routers.by_hand import OWN, Shop, labels_of_pods

BLUE, GREEN, CANDIDATE, BASELINE = Slot
ROUTER = {"kind": "replicas"}
SHARED = {"app": "shop"}
ALL_BLUE = Traffic(Split.all_to(BLUE))


def to(share: int, new: Slot = CANDIDATE, **others: int) -> Traffic:
    """*new* has *share* basis points, blue what is left of them."""
    shares = {Slot(slot): other for slot, other in others.items()}
    return Traffic(Split({BLUE: 10_000 - share - sum(shares.values()), new: share} | shares), preview=new)


@dataclass
class Stage:
    """Three pods of blue at rest; nothing else runs."""

    shop: Shop
    lease: FileLease
    original: Json

    @property
    def router(self) -> Replicas:
        """A router, as a new process would have it."""
        return self.opened()

    @property
    def users(self) -> Json:
        """The users' Service."""
        return self.shop.world.need(SERVICE, "shop")

    @property
    def behind(self) -> dict[Slot, int]:
        """How many pods of each slot are among its endpoints."""
        slots = {
            pod["status"]["podIP"]: slot
            for slot in Slot
            for pod in self.shop.world.list(POD, labels_of_pods(slot))
            if "podIP" in pod["status"]
        }
        found = [slots[one.host] for one in self.router.services.endpoints("shop")]
        return {slot: found.count(slot) for slot in Slot if slot in found}

    def opened(self, **parts: object) -> Replicas:
        """A router for a file with these parts."""
        return Replicas(self.shop.file(ROUTER, **parts))

    def write(self, traffic: Traffic) -> dict[Slot, int]:
        """The shares that are really served then; live is what was asked for."""
        served = self.router.write(traffic, self.lease)
        assert self.router.live() == traffic.split
        assert served.shares.keys() == self.behind.keys() - {BASELINE} | traffic.split.shares.keys()
        return dict(served.shares)


def select(shop: Shop, selector: dict[str, str]) -> None:
    """Somebody has the users' Service select something."""

    def edited(found: Json) -> Json:
        found["spec"]["selector"] = dict(selector)
        return found

    shop.world.change(SERVICE, "shop", edited)


def staged(cluster: Api, namespace: str, selector: dict[str, str]) -> Iterator[Stage]:
    """See `Stage`; the Service selects by *selector*."""
    shop = Shop(cluster, namespace)
    select(shop, selector)
    shop.deploy(BLUE, pods=3)
    lease = take("shop", "first")
    yield Stage(shop, lease, shop.world.need(SERVICE, "shop"))
    lease.release_now()


@pytest.fixture
def shared(cluster: Api, namespace: str, home: Path) -> Iterator[Stage]:
    """The Service selects the pods of all slots by itself."""
    del home
    yield from staged(cluster, namespace, SHARED)


@pytest.fixture
def exclusive(cluster: Api, namespace: str, home: Path) -> Iterator[Stage]:
    """The Service selects the pods of one colour by itself."""
    del home
    yield from staged(cluster, namespace, OWN)
