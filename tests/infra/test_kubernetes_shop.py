"""The example shop can be released as its service files say, by someone who has no more than Davy's roles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import pytest
from kubernetes.dynamic import DynamicClient

from deployments.service_files import load
from tasks.domain.errors import PermanentError
from tasks.domain.model import Revision, Slot
from tasks.domain.spec import ServiceFile
from tasks.fleets import open_fleet
from tasks.routers import open_router
from tests.infra.test_kubernetes import FOLDER, SERVICES, documents
from tests.infra.test_kubernetes_api import served
from tests.rig.cluster import fixtures
from tests.rig.cluster.control_plane import IDENTITIES, ControlPlane

control_plane, cluster, crds, namespace = (
    fixtures.control_plane,
    fixtures.cluster,
    fixtures.crds,
    fixtures.namespace,
)

WITHIN = 10
"""Seconds that the API server may take to know of a role."""
Make = Callable[..., ServiceFile]


@pytest.fixture
def shop(control_plane: ControlPlane, namespace: str, crds: Sequence[str]) -> Make:
    """Makes the shop of a service file in a namespace of its own; the service file, with Davy's rights there.

    Its router's role is left out where a test says so.
    """
    assert crds
    server = DynamicClient(control_plane.api)

    def make(path: Path, *, routers: bool = True) -> ServiceFile:
        service, own = load(path), path.stem.removeprefix("shop-")
        files = [FOLDER / "examples" / "shop" / f"{name}.yaml" for name in ("shop", own)]
        for one in [one for file in files if file.exists() for one in documents(file)]:
            served(server, one, namespace, dry=False)
        for name in ("base", own) if routers else ("base",):
            grant(server, namespace, name)
        identity = str(control_plane.identity("limited"))
        fleet = service.kubernetes.model_copy(update={"namespace": namespace, "kubeconfig": identity})
        return service.model_copy(update={"fleet": fleet})

    return make


def grant(server: DynamicClient, namespace: str, name: str) -> None:
    """Give the rig's identity what a file of rbac/ gives Davy."""
    path = FOLDER / "rbac" / f"{name}.yaml"
    for one in documents(path) if path.exists() else []:
        made = deepcopy(one)
        if "subjects" in made:
            group = {"kind": "Group", "name": IDENTITIES["limited"]}
            made["subjects"] = [group | {"apiGroup": "rbac.authorization.k8s.io"}]
        served(server, made, namespace, dry=False)


def await_role(look: Callable[[], None]) -> None:
    """Look until it is allowed: roles are known a moment after they are made."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            look()
        except PermanentError as refused:
            if "no permission" not in str(refused) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_a_release_would_begin(path: Path, shop: Make) -> None:
    service = shop(path)
    await_role(lambda: open_fleet(service).check("1.1"))
    await_role(open_router(service).check)
    revision = Revision(service.service, Slot.CANDIDATE, "1.1")
    (change,) = open_fleet(service).changes(revision, 1)
    assert change.subject.endswith("/shop-candidate")
    assert "image: shop:1.1" in change.diff
    open_router(service).changes()


@pytest.mark.parametrize("kind", ["istio", "nginx", "gateway-api"])
def test_without_its_routers_role_it_is_refused(kind: str, shop: Make) -> None:
    (path,) = [path for path in SERVICES if path.stem == f"shop-{kind}"]
    service = shop(path, routers=False)
    await_role(lambda: open_fleet(service).check("1.1"))
    with pytest.raises(PermanentError, match="found no permission to get, list"):
        open_router(service).check()
