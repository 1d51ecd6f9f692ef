"""Another's hand in the middle of a release: seen, named, and handled as the service file says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.cluster import Json
from tasks.cluster.kinds import AUTOSCALER, DEPLOYMENT, VIRTUAL_SERVICE
from tasks.domain.model import Outcome
from tests.flows.kubernetes.scene import BAKE, Scene

LONG: dict[str, Any] = {"steps": [{"share": 20, "bake": "3s"}]}
"""A bake in which there is time to look, as there always is."""


def reweigh(scene: Scene) -> None:
    """As with ``kubectl edit``."""
    scene.reweigh(blue=30, candidate=70)


def apply_again(scene: Scene) -> None:
    """As a tool does that keeps to what is in Git."""
    scene.patch(VIRTUAL_SERVICE, "shop", lambda found: found | {"spec": scene.original["spec"]})


def nonsense(scene: Scene) -> None:
    """Weights that say nothing."""
    scene.reweigh(blue=0, candidate=0)


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (reweigh, "found blue 30%, candidate 70%"),
        (apply_again, "found blue 100%"),
        (nonsense, "VirtualService/{namespace}/shop: found no weight for any of blue, candidate"),
    ],
)
@pytest.mark.parametrize("on_drift", ["abort", "reassert"])
def test_weights_of_another_hand_are_named_and_handled_as_the_file_says(
    scene: Scene, act: Callable[[Scene], None], found: str, on_drift: str
) -> None:
    scene.make()
    scene.at(BAKE, lambda: act(scene))
    scene.release(
        on_drift=on_drift, **(LONG if on_drift == "abort" else {"steps": [{"share": 20, "bake": "800ms"}]})
    )
    said = scene.look()
    drift = scene.record.last("drift")
    assert drift
    assert found.format(namespace=scene.namespace) in drift.data["what"]
    assert "expected blue 80%, candidate 20%" in drift.data["what"]
    if on_drift == "abort":
        assert said.startswith(f"{Outcome.ROLLED_BACK}: shop: somebody else changed it: live requests: ")
        scene.assert_untouched()
    else:
        assert said == f"{Outcome.PROMOTED}: shop Promoted: 2.0"
        scene.assert_promoted()
    scene.assert_told()


def test_a_candidate_whose_deployment_is_deleted_is_taken_back_at_once(scene: Scene) -> None:
    scene.make()
    scene.at(BAKE, lambda: scene.world.delete(DEPLOYMENT, "shop-candidate"))
    scene.release(**LONG)
    said = scene.look()
    expected = "candidate: found nothing running, expected what has a share of blue 80%, candidate 20%"
    assert said == f"{Outcome.ROLLED_BACK}: shop: somebody else changed it: {expected}"
    scene.assert_untouched()
    scene.assert_told()


def set_image(scene: Scene, image: str) -> None:
    """As with ``kubectl set image``."""

    def edit(found: Json) -> None:
        found["spec"]["template"]["spec"]["containers"][0]["image"] = image

    scene.patch(DEPLOYMENT, "shop", edit)


def test_stable_that_is_given_another_image_is_seen_and_put_back(scene: Scene) -> None:
    scene.make()
    scene.at(BAKE, lambda: set_image(scene, "shop:1.1"))
    scene.release(**LONG)
    said = scene.look()
    assert said.startswith(
        f"{Outcome.ROLLED_BACK}: shop: somebody else changed it: blue: found it to run 1.1, expected 1.0"
    )
    scene.assert_told()
    assert scene.pods() == ["shop:1.0"] * 2


def scale(scene: Scene, replicas: int) -> None:
    """As an autoscaler does, and ``kubectl scale``."""
    scene.apps.patch_namespaced_deployment_scale("shop", scene.namespace, {"spec": {"replicas": replicas}})


@pytest.mark.parametrize("by", ["hand", "autoscaler"])
def test_stable_that_grows_is_no_drift_and_is_not_made_smaller_on_the_way_back(scene: Scene, by: str) -> None:
    scene.make()
    if by == "autoscaler":
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
        spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 6}
        scene.world.create(AUTOSCALER, {"metadata": {"name": "shop"}, "spec": spec})
    scene.at("intent analyse-candidate-20%-1", lambda: scale(scene, 4))
    steps = [{"share": share, "bake": "500ms"} for share in (20, 50)]
    scene.at("intent bake-candidate-50%-1", lambda: scene.reweigh(blue=30, candidate=70))
    scene.release(steps=steps)
    said = scene.look()
    assert "found blue 30%, candidate 70%, expected blue 50%, candidate 50%" in said
    assert scene.record.result_of("provision-candidate-2"), "half of what four can carry, not of two"
    assert not [line for line in scene.record.all("drift") if "live requests" not in line.data["what"]]
    scene.assert_untouched(replicas=4)
