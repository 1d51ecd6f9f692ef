"""A shop whose users come by an Ingress, with the router that makes a second one beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.cluster.cluster import Json, annotations_of
from tasks.cluster.kinds import INGRESS, SERVICE
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.journal import FileLease, take
from tasks.routers import nginx_ingress as pure
from tasks.routers.nginx import Nginx
from tests.rig.cluster.control_plane import Cluster as Api
from tests.tasks.routers.by_hand import OWN, Shop

BLUE, GREEN, CANDIDATE, BASELINE = Slot
HEADER = (Match("header", "X-Tester", "yes"),)


def path(service: str, at: str) -> Json:
    """A path of an Ingress that leads to that Service."""
    backend = {"service": {"name": service, "port": {"name": "http"}}}
    return {"path": at, "pathType": "Prefix", "backend": backend}


MAIN = {
    "metadata": {"name": "web", "annotations": {"kubernetes.io/ingress.class": "nginx", "owner": "web"}},
    "spec": {
        "rules": [
            {"host": "shop.example", "http": {"paths": [path("shop", "/"), path("cart", "/cart")]}},
            {"host": "cart.example", "http": {"paths": [path("cart", "/")]}},
        ],
        "tls": [{"hosts": ["shop.example", "cart.example"], "secretName": "certificate"}],
    },
}
"""The user's Ingress, before any release."""


def to(new: Slot = CANDIDATE, share: int = 0, stable: Slot = BLUE, **more: object) -> Traffic:
    """*new* has *share* basis points, *stable* the rest."""
    return Traffic(Split({stable: 10_000 - share, new: share}), preview=new, **more)  # type: ignore[arg-type]


WAYS = {
    "canary": [to(), to(share=500), to(share=5000), to(GREEN, 10_000)],
    "to the end": [to(share=2500), to(share=10_000), to(GREEN, 10_000)],
    "colours": [to(GREEN), to(GREEN, 100), to(GREEN, 6000), to(GREEN, 10_000)],
    "testers first": [
        to(matched=CANDIDATE, matches=HEADER),
        to(share=500, matched=CANDIDATE, matches=HEADER),
    ],
    "back": [to(share=5000), to()],
    "back from everything": [to(GREEN, 100), to(GREEN, 10_000), to()],
    "narrower": [to(share=5000), to(share=1), to(share=2)],
    "from green to blue": [to(BLUE, 0, GREEN), to(BLUE, 1000, GREEN), to(BLUE, 10_000, GREEN)],
}
"""Ways through a release, split by split."""


@dataclass
class Stage:
    """A shop at rest on blue, with green and a candidate ready beside it."""

    shop: Shop
    router: Nginx
    lease: FileLease
    original: Json
    seen: list[dict[Slot, int]] = field(default_factory=list)

    @property
    def main(self) -> Json:
        """The user's Ingress."""
        return self.shop.world.need(INGRESS, "web")

    @property
    def canary(self) -> Json | None:
        """Davy's Ingress."""
        return self.shop.world.read(INGRESS, "shop-canary")

    def opened(self, **parts: object) -> Nginx:
        """Another router for the same service, as another process would have."""
        return Nginx(self.shop.file({"kind": "nginx"}, **({"baseline": False} | parts)))

    def served(self) -> dict[Slot, int]:
        """What NGINX gives each slot by weight: a canary counts where it leads elsewhere than the main one."""
        (main,) = set(pure.leading(self.main["spec"], self.router.names))
        canary = self.canary
        beside = set(pure.leading(canary["spec"], self.router.names)) if canary else {main}
        weight = 0 if canary is None or beside == {main} else int(annotations_of(canary)[pure.WEIGHT])
        (other,) = beside
        shares = {self._slot(main): 10_000 - weight} | ({self._slot(other): weight} if weight else {})
        return {slot: share for slot, share in shares.items() if share}

    def _slot(self, name: str) -> Slot:
        return self.router.names.slot_of(name) or BLUE

    def look(self) -> None:
        """Remember what is served."""
        self.seen.append(self.served())


@pytest.fixture
def stage(cluster: Api, namespace: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """See `Stage`; no controller is there to be waited for."""
    del home
    for module in ("slot_services", "nginx"):
        monkeypatch.setattr(f"tasks.routers.{module}.SEEN_WITHIN", timedelta(0))
    shop = Shop(cluster, namespace)
    shop.world.change(
        SERVICE, "shop", lambda found: found | {"spec": found["spec"] | {"selector": dict(OWN)}}
    )
    for slot in (BLUE, GREEN, CANDIDATE):
        shop.deploy(slot)
    original = shop.world.create(INGRESS, MAIN)
    lease = take("shop", "first")
    router = Nginx(shop.file({"kind": "nginx"}, baseline=False))
    found = Stage(shop, router, lease, original)
    yield found
    lease.release_now()
