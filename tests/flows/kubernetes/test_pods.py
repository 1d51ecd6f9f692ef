"""Pods of the new version that never serve: the release says why, in their own words, and stable is not touched."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tasks.cluster import Json
from tasks.cluster.kinds import DEPLOYMENT
from tasks.domain.model import Outcome
from tests.flows.kubernetes.scene import Scene
from tests.rig.stack import await_that

POD = r"Pod/NS/shop-candidate-\w+-\w+"


def quota(scene: Scene) -> None:
    """No third pod may be made."""
    body = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    scene.core.create_namespaced_resource_quota(scene.namespace, body)
    await_that(
        lambda: (
            (scene.core.read_namespaced_resource_quota("small", scene.namespace).status.used or {}).get(
                "pods"
            )
            == "2"
        ),
        what="the quota's count",
    )


@pytest.mark.parametrize(
    ("version", "fleet", "said"),
    [
        ("2.0-crash", {}, rf"waiting won't help: {POD}: CrashLoopBackOff: .*ended with exit code 3"),
        (
            "2.0",
            {"image": "nobody-has-it:{version}"},
            rf"waiting won't help: {POD}: ImagePullBackOff: .*nobody-has-it:2.0",
        ),
        (
            "2.0-never",
            {"ready_within": "2s"},
            r"0 of 1 replicas healthy after 2s: 10\.244\.\d+\.\d+ ContainersNotReady: .*\[app\]",
        ),
        (
            "2.0",
            {},
            r"waiting won't help: Deployment/NS/shop-candidate: FailedCreate: .*exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2",
        ),
    ],
    ids=["crash loop", "image pull", "never ready", "quota"],
)
def test_a_version_whose_pods_do_not_serve_gets_no_share(
    scene: Scene, request: pytest.FixtureRequest, version: str, fleet: dict[str, Any], said: str
) -> None:
    scene.make(probe=version.endswith("never"))
    if request.node.callspec.id == "quota":
        quota(scene)
    before = scene.world.need(DEPLOYMENT, "shop")
    scene.release(version, fleet=fleet)
    ended = scene.look().replace(scene.namespace, "NS")
    assert re.match(rf"{Outcome.ROLLED_BACK}: shop/candidate@{version}: .*{said}", ended), ended
    assert [line.data["split"] for line in scene.record.all("live")] in ([], [{"blue": 10_000}])
    assert _spec(scene.world.need(DEPLOYMENT, "shop")) == _spec(before), "stable was not written at all"
    scene.assert_untouched()
    scene.assert_told()


def _spec(found: Json) -> tuple[int, Json]:
    return found["metadata"]["generation"], found["spec"]
