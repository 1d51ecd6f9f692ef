"""A shop on Kubernetes, whose replicas are pods of real Deployments; its fleet, and what that sees."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from kubernetes import client

from tasks.domain.model import Health, Revision, Slot
from tasks.domain.spec import service_adapter
from tasks.fleets.kubernetes import KubernetesDeployments
from tasks.journal import FileLease, take
from tests.rig.cluster import shops
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.stack import await_that

SOON = timedelta(seconds=60)
OWN = Revision("shop", Slot.BLUE, "1.0")
CANDIDATE = Revision("shop", Slot.CANDIDATE, "2.0")


class Shop:
    """A shop in a namespace of its own, its fleet and the right to change it."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path) -> None:
        self.plane, self.namespace, self.folder = plane, namespace, folder
        self.apps, self.core = client.AppsV1Api(plane.api), client.CoreV1Api(plane.api)
        self.lease: FileLease = take("shop", "first")

    def make(self, *, shared: bool = False, **changed: Any) -> None:  # noqa: ANN401 - fields of the container
        """Create the own Deployment and its Service; wait for its pods."""
        own = shops.deployment("shop", self.folder / "shop.sqlite", shared=shared)
        own["spec"]["template"]["spec"]["containers"][0] |= changed
        shops.make(self.plane.api, self.namespace, own, shops.service("shop"))
        await_that(lambda: self.deployment("shop").status.ready_replicas == 2, what="own pods")

    def fleet(self, kubeconfig: Path | None = None, **own: Any) -> KubernetesDeployments:  # noqa: ANN401
        """The fleet of a service file with *own* keys of its part."""
        content = shops.content("shop", self.namespace, kubeconfig or self.plane.kubeconfig)
        content["fleet"] |= own
        return KubernetesDeployments(service_adapter.validate_python(content))

    def deployment(self, name: str) -> Any:  # noqa: ANN401 - the client's own model
        """As it is now."""
        return self.apps.read_namespaced_deployment(name, self.namespace)

    def names(self) -> set[str]:
        """All Deployments."""
        return {one.metadata.name for one in self.apps.list_namespaced_deployment(self.namespace).items}

    def run(self, fleet: KubernetesDeployments, revision: Revision, replicas: int = 1) -> None:
        """Deploy and wait."""
        fleet.deploy(revision, replicas, self.lease)
        fleet.wait_healthy(revision, replicas, SOON)


def seen(fleet: KubernetesDeployments) -> dict[str, list[Health]]:
    """By ``slot@version``, how each replica is."""
    found: dict[str, list[Health]] = {}
    for replica in fleet.observe():
        found.setdefault(f"{replica.revision.slot}@{replica.revision.version}", []).append(replica.health)
    return found
