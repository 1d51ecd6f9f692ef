"""A shop whose users come by a route object that a router borrows: one for each such router."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.cluster.cluster import Json
from tasks.cluster.kinds import SERVICE
from tasks.domain.model import Slot, Split, Traffic
from tasks.journal import FileLease, take
from tasks.routers import open_router
from tasks.routers.borrowed import BorrowedRoute
from tests.rig.cluster.control_plane import Cluster as Api
from tests.tasks.routers.by_hand import Route, Shop
from tests.tasks.routers.routes import ROUTES

BLUE = Traffic(Split.all_to(Slot.BLUE))
TENTH = Traffic(Split({Slot.BLUE: 9_000, Slot.CANDIDATE: 1_000}))
HALF = Traffic(Split({Slot.BLUE: 5_000, Slot.CANDIDATE: 5_000}))


@dataclass
class Stage:
    """A shop at rest on blue, with a candidate; its route object, and a router that holds the lease.

    Attributes:
        original: The route object, before any release.
    """

    shop: Shop
    route: Route
    router: BorrowedRoute
    lease: FileLease
    original: Json

    @property
    def now(self) -> Json:
        """The route object."""
        return self.route.read(self.shop.world)

    @property
    def generation(self) -> int:
        """How often its spec was changed."""
        return int(self.now["metadata"]["generation"])

    @property
    def everything(self) -> list[Json]:
        """The route object and all Services."""
        return [self.now, *self.shop.world.list(SERVICE)]

    def opened(self, **parts: object) -> BorrowedRoute:
        """Another router for the same service, as another process would have."""
        return opened(self.shop, self.route.router, **(dict(self.route.parts) | parts))

    def succeed(self) -> FileLease:
        """Another carrier takes the release over."""
        self.lease = take("shop", "first", over=True)
        return self.lease


def opened(shop: Shop, router: Mapping[str, object], **parts: object) -> BorrowedRoute:
    """A router of that service."""
    found = open_router(shop.file(router, **parts))
    assert isinstance(found, BorrowedRoute)
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is there to be waited for."""
    for module in ("slot_services", "istio", "nginx"):
        monkeypatch.setattr(f"tasks.routers.{module}.SEEN_WITHIN", timedelta(0))


@pytest.fixture(params=sorted(ROUTES))
def stage(  # noqa: PLR0917 - pytest gives them by name
    request: pytest.FixtureRequest,
    cluster: Api,
    crds: Sequence[str],
    namespace: str,
    home: Path,
    quick: None,
) -> Iterator[Stage]:
    """See `Stage`."""
    del crds, home, quick
    route = ROUTES[request.param]
    shop = Shop(cluster, namespace)
    shop.deploy(Slot.BLUE, pods=2)
    shop.deploy(Slot.CANDIDATE)
    original = route.create(shop.world)
    lease = take("shop", "first")
    found = Stage(shop, route, opened(shop, route.router, **route.parts), lease, original)
    yield found
    found.lease.release_now()


@pytest.fixture
def borrowed(stage: Stage) -> Stage:
    """The candidate has a tenth."""
    stage.router.write(TENTH, stage.lease)
    return stage
