"""What keeps a release from beginning is found before anything is written, and named."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tasks.cluster import Json
from tasks.cluster.kinds import DEPLOYMENT, SERVICE, VIRTUAL_SERVICE
from tasks.domain.errors import DavyError, GoneError, InputError, PermanentError
from tasks.opening import preflight
from tests.flows.kubernetes.roles import allow
from tests.flows.kubernetes.scene import Scene
from tests.rig.cluster import shops
from tests.rig.cluster.faulty import FaultyApi


def refusal(scene: Scene, faulty: FaultyApi, error: type[DavyError], **own: Any) -> str:  # noqa: ANN401
    """What `preflight` says; it has written nothing."""
    with pytest.raises(error) as raised:
        preflight(scene.file(**own), "2.0")
    assert faulty.changes == []
    return str(raised.value).replace(scene.namespace, "NS")


@pytest.mark.parametrize(
    "lacking",
    [
        "update virtualservices.networking.istio.io",
        "create deployments.apps",
        "list pods",
        "delete services",
    ],
)
def test_a_permission_that_a_role_lacks(scene: Scene, tmp_path: Path, lacking: str) -> None:
    scene.make()
    verb, _, resource = lacking.partition(" ")
    allow(scene, without=(resource.partition(".")[0], verb))
    with FaultyApi(scene.plane, tmp_path, "limited") as api:
        scene.kubeconfig = api.kubeconfig
        said = refusal(scene, api, PermanentError)
    assert said == f"Namespace/NS: found no permission to {lacking}, expected a role that has it"


def gone(kind: Any, name: str = "shop") -> Callable[[Scene], None]:  # noqa: ANN401 - a `Kind`
    """It is deleted."""
    return lambda scene: scene.world.delete(kind, name)


def second_route(scene: Scene) -> None:
    """Another VirtualService of the same host, with a route to elsewhere."""
    spec = deepcopy(scene.original["spec"])
    spec["http"][0]["route"] = [{"destination": {"host": "elsewhere"}}]
    scene.world.create(VIRTUAL_SERVICE, {"metadata": {"name": "other"}, "spec": spec})


def route_twice(scene: Scene) -> None:
    """Another VirtualService that leads to the Service, for another host."""
    spec = deepcopy(scene.original["spec"]) | {"hosts": ["elsewhere"]}
    scene.world.create(VIRTUAL_SERVICE, {"metadata": {"name": "other"}, "spec": spec})


def stranger(**labels: str) -> Callable[[Scene], None]:
    """Another team's Deployment whose pods have these labels."""

    def make(scene: Scene) -> None:
        other = shops.deployment("other", Path(), replicas=0)
        other["spec"]["template"]["metadata"]["labels"] |= labels
        other["spec"]["selector"]["matchLabels"] = {"tier": "other"}
        other["spec"]["template"]["metadata"]["labels"]["tier"] = "other"
        scene.world.create(DEPLOYMENT, other)

    return make


def select_nothing(scene: Scene) -> None:
    """A label is misspelt: that is no service without a first version."""

    def edit(found: Json) -> None:
        found["spec"]["selector"]["app"] = "shap"

    scene.patch(SERVICE, "shop", edit)


def no_selector(scene: Scene) -> None:
    """The Service selects nothing by itself."""

    def edit(found: Json) -> None:
        del found["spec"]["selector"]

    scene.patch(SERVICE, "shop", edit)


@pytest.mark.parametrize(
    ("act", "error", "expected"),
    [
        (gone(DEPLOYMENT), GoneError, "Deployment/NS/shop: found none, expected it to be there"),
        (gone(SERVICE), GoneError, "Service/NS/shop: found none, expected it to be there"),
        (
            gone(VIRTUAL_SERVICE),
            InputError,
            "router.virtual_service: found None, expected one VirtualService with a route to Service/NS/shop",
        ),
        (
            route_twice,
            InputError,
            "router.virtual_service: found 'VirtualService/NS/other, VirtualService/NS/shop', expected one VirtualService with a route to Service/NS/shop",
        ),
        (
            second_route,
            InputError,
            "router.virtual_service: found 'VirtualService/NS/other and VirtualService/NS/shop for shop.NS.svc.cluster.local', expected one VirtualService for it: sidecars follow only the older of two",
        ),
        (
            stranger(app="shop"),
            InputError,
            "router.service: found 'Service/NS/shop, also selecting Deployment/NS/other', expected only the pods of Deployment/NS/shop to be selected",
        ),
        (
            no_selector,
            InputError,
            "router.service: found 'Service/NS/shop', expected a Service with a selector",
        ),
    ],
)
def test_objects_that_are_not_there_or_do_not_fit(
    scene: Scene, faulty: FaultyApi, act: Callable[[Scene], None], error: type[DavyError], expected: str
) -> None:
    scene.make(replicas=1)
    act(scene)
    assert refusal(scene, faulty, error) == expected


def test_a_selector_by_expressions(scene: Scene, faulty: FaultyApi) -> None:
    expressions = [{"key": "app", "operator": "In", "values": ["shop"]}]
    scene.make(replicas=1, selector={"matchExpressions": expressions})
    assert refusal(scene, faulty, InputError) == (
        "fleet.deployment: found 'Deployment/NS/shop', expected a Deployment whose selector has matchLabels only"
    )


def test_a_deployment_whose_selector_matches_anothers_pods(scene: Scene, faulty: FaultyApi) -> None:
    """The Service tells them apart by one more label, the own Deployment does not."""
    scene.make(replicas=1)

    def narrow(found: Json) -> None:
        found["spec"]["selector"]["track"] = "own"

    scene.patch(SERVICE, "shop", narrow)
    stranger(app="shop")(scene)
    said = refusal(scene, faulty, InputError)
    assert said == (
        "fleet.deployment: found 'Deployment/NS/shop, also selecting Deployment/NS/other', "
        "expected only the pods of Deployment/NS/shop to be selected"
    )
