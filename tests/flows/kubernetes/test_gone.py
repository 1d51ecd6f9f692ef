"""What a release works on is deleted under it: it says what is gone, and ends, or waits for what may come back."""

from __future__ import annotations

from typing import Any

from deployments.watcher import Watched
from tasks.cluster.kinds import DEPLOYMENT, SERVICE, VIRTUAL_SERVICE
from tasks.domain.model import Outcome
from tasks.journal import journal_of
from tests.flows.kubernetes.scene import BAKE, Scene
from tests.rig.cluster import shops
from tests.rig.stack import await_that

LONG: dict[str, Any] = {"steps": [{"share": 20, "bake": "3s"}]}


def delete_all(scene: Scene) -> None:
    """The whole namespace; returns once the own Deployment is gone with it."""
    scene.core.delete_namespace(scene.namespace)
    await_that(lambda: scene.world.read(DEPLOYMENT, "shop") is None, what="the namespace's end")


def test_a_release_whose_namespace_is_deleted_fails_and_is_closed(scene: Scene) -> None:
    scene.make()
    scene.at(BAKE, lambda: delete_all(scene))
    scene.release(**LONG)
    said = scene.look()
    gone = f"Deployment/{scene.namespace}/shop: found none, expected it to be there"
    assert said.startswith(f"{Outcome.FAILED}: "), said
    assert said.endswith(f"nothing is left to go back to: {gone}")
    scene.assert_told()


def test_a_namespace_that_is_deleted_after_the_end_is_not_cleared_away_for_ever(scene: Scene) -> None:
    """The old version was still to be retired, by the watcher."""
    scene.make()
    scene.release()
    assert scene.record.due
    delete_all(scene)
    assert scene.look(within=5) == f"{Outcome.PROMOTED}: shop Promoted: 2.0"
    retired = scene.record.last("retired")
    assert retired
    assert retired.data["gone"].startswith(f"Deployment/{scene.namespace}/shop: found none")


def test_a_service_that_is_deleted_is_waited_for_on_the_way_back(scene: Scene) -> None:
    """The candidate still has its share: that is not said to be the end."""
    scene.make()
    scene.at(BAKE, lambda: scene.world.delete(SERVICE, "shop"))
    state = scene.release()
    missing = f"Service/{scene.namespace}/shop: found none, expected it to be there"
    assert state.name == Outcome.FAILED
    assert missing in (state.message or "")
    Watched(journal_of("shop", "r1")).look_once()
    assert not scene.record.ended
    scene.world.create(SERVICE, shops.service("shop"))
    assert scene.look() == f"{Outcome.ROLLED_BACK}: {missing}"
    scene.assert_told()
    assert scene.pods() == ["shop:1.0"] * 2


def test_a_route_that_is_deleted_is_waited_for_on_the_way_back(scene: Scene) -> None:
    scene.make()
    scene.at(BAKE, lambda: scene.world.delete(VIRTUAL_SERVICE, "shop"))
    state = scene.release(**LONG)
    expected = f"one VirtualService with a route to Service/{scene.namespace}/shop"
    assert state.name == Outcome.FAILED
    assert expected in (state.message or "")
    shops.make_route(scene.plane.api, scene.namespace, "istio", "shop")
    said = scene.look()
    assert said.startswith(f"{Outcome.ROLLED_BACK}: ")
    assert expected in said
    assert scene.seen()["VirtualService/shop"]["spec"] == scene.original["spec"]
    assert scene.pods() == ["shop:1.0"] * 2
    scene.assert_told()
