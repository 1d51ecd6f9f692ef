"""Several who write a borrowed route object at once, carriers that lost the lease, and carriers that die."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tasks.cluster.cluster import Json, annotations_of
from tasks.cluster.kinds import SERVICE
from tasks.cluster.labels import Marks
from tasks.domain.errors import LeaseLostError, PermanentError
from tasks.domain.model import Address, Lease, Slot
from tasks.routers import open_router
from tests.rig.cluster.control_plane import ControlPlane
from tests.tasks.routers.borrowing import BLUE, HALF, TENTH, Stage
from tests.tasks.routers.by_hand import plain
from tests.tasks.routers.crashes import DiedError, Stale, dying, meanwhile


def test_others_who_write_the_object_only_delay_a_write(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes it right before every second write of the router's."""
    router, world, kind = stage.router, stage.shop.world, stage.route.kind
    real, written = router.cluster._call, 0

    def meddling(asked: Any, subject: str, verb: str, **options: Any) -> Json | None:  # noqa: ANN401
        nonlocal written
        if verb == "replace" and (asked, subject) == (kind, "shop"):
            written += 1
            if written % 2:
                world.change(kind, subject, _edited)
        return real(asked, subject, verb, **options)

    monkeypatch.setattr(router.cluster, "_call", meddling)
    for traffic in (TENTH, HALF, BLUE):
        router.write(traffic, stage.lease)
        assert router.live() == traffic.split
    stage.shop.end(Slot.CANDIDATE)
    assert router.give_back(stage.lease) is True
    assert written >= 4
    assert stage.now["spec"] == stage.original["spec"]
    assert annotations_of(stage.now) == annotations_of(stage.original) | {"edits": str(written // 2)}


def _edited(found: Json) -> Json:
    said = annotations_of(found)
    said["edits"] = str(int(said.get("edits", 0)) + 1)
    found["metadata"]["annotations"] = said
    return found


def test_an_older_epoch_can_change_nothing(borrowed: Stage) -> None:
    lease: Lease = borrowed.succeed()
    borrowed.router.write(BLUE, lease)
    before = borrowed.everything
    stale = borrowed.opened()
    acts: list[Callable[[], object]] = [
        lambda: stale.write(TENTH, Stale()),
        lambda: stale.give_back(Stale()),
        lambda: stale.publish(Slot.BLUE, [], Stale()),
        lambda: stale.publish(Slot.BLUE, [Address("10.244.255.1", 8080)], Stale()),
    ]
    for act in acts:
        with pytest.raises(LeaseLostError):
            act()
    assert borrowed.everything == before


def test_a_carrier_that_froze_right_before_its_write_changes_nothing(borrowed: Stage) -> None:
    """Its successor has written meanwhile, so the object is not the one that it has read."""
    first, lease = borrowed.router, borrowed.lease
    seen: list[Json] = []

    def taken_over() -> None:
        borrowed.opened().write(BLUE, borrowed.succeed())
        seen.append(borrowed.now)

    with meanwhile(first.cluster, "replace", taken_over), pytest.raises(LeaseLostError):
        first.write(HALF, lease)
    assert [borrowed.now] == seen
    assert annotations_of(borrowed.now)[Marks.of("shop").epoch] == "2"


def test_a_write_whose_carrier_died_before_any_change_can_be_repeated(stage: Stage) -> None:
    for changes in range(1, 50):
        with suppress(DiedError), dying((router := stage.opened()).cluster, changes):
            router.write(TENTH, stage.lease)
            break
        again = stage.opened()
        again.write(TENTH, stage.lease)
        assert again.live() == TENTH.split
        assert plain(again._returned(stage.now)) == plain(stage.original)
        stage.shop.world.change(stage.route.kind, "shop", again._returned)
        for slot in (Slot.BLUE, Slot.CANDIDATE):
            stage.shop.world.delete(SERVICE, f"shop-{slot}")
    assert changes > 3


def test_a_way_back_whose_carrier_died_before_any_change_can_be_repeated(borrowed: Stage) -> None:
    """The users' Service is changed too: it selects by track."""
    world = borrowed.shop.world
    for changes in range(1, 50):
        world.change(SERVICE, "shop", _elsewhere)
        borrowed.router.write(BLUE, borrowed.lease)
        with suppress(DiedError), dying((router := borrowed.opened()).cluster, changes):
            assert router.give_back(borrowed.lease) is True
            break
        assert borrowed.opened().give_back(borrowed.lease) is True
        assert plain(borrowed.now) == plain(borrowed.original)
    assert changes > 2
    assert plain(borrowed.now) == plain(borrowed.original)
    assert world.need(SERVICE, "shop")["spec"]["selector"] == {"app": "shop", "track": "own"}


def _elsewhere(found: Json) -> Json:
    found["spec"]["selector"] = {"app": "shop", "track": "own-green"}
    return found


def test_without_permission_nothing_begins(stage: Stage, control_plane: ControlPlane) -> None:
    limited = control_plane.identity("limited", stage.shop.namespace)
    service = stage.shop.file(stage.route.router, **stage.route.parts)
    fleet = service.fleet.model_copy(update={"kubeconfig": str(limited)})
    router = open_router(service.model_copy(update={"fleet": fleet}))
    with pytest.raises(PermanentError, match=rf"no permission to .*{stage.route.kind.plural}"):
        router.check()
