"""A service on a real Kubernetes API whose pods are made by hand, and what a user's route object says there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client

from tasks.cluster.cluster import Cluster, Json
from tasks.cluster.kinds import DEPLOYMENT, POD, SERVICE, Kind
from tasks.cluster.labels import slot_labels
from tasks.domain.model import Slot
from tasks.domain.spec import ServiceFile, service_adapter
from tests.rig.cluster.control_plane import Cluster as Api

OWN = {"app": "shop", "track": "own"}
METADATA = {"labels": {"team": "web"}, "annotations": {"owner": "the web team"}}
"""What a user's route object has beside its spec."""
NODE = "by-hand"
"""The node of pods that no kubelet is to take; without one they are no endpoints."""


def labels_of_pods(slot: Slot) -> dict[str, str]:
    """Those that the fleet gives them."""
    return OWN if slot is Slot.BLUE else OWN | {"track": f"own-{slot}"} | slot_labels("shop", slot)


class Shop:
    """The service ``shop``: its Deployments want no pods, those that there are were made by hand.

    The users' Service selects the pods of all slots.

    Attributes:
        world: What a user sees, by a client that is not the router's.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.namespace, self.kubeconfig = namespace, api.kubeconfig
        self.world = Cluster(api.api, namespace)
        self._core = client.CoreV1Api(api.api)
        with suppress(client.ApiException):  # another test has made it
            self._core.create_node({"metadata": {"name": NODE}})
        self._numbers = iter(range(1, 250))
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        spec = {"selector": {"app": "shop"}, "ports": ports}
        self.world.create(SERVICE, {"metadata": {"name": "shop"}, "spec": spec})

    def file(self, router: Mapping[str, object], **parts: object) -> ServiceFile:
        """The service file with this router."""
        fleet = {"kind": "kubernetes", "namespace": self.namespace, "kubeconfig": str(self.kubeconfig)}
        metrics = {"source": "prometheus", "url": "http://127.0.0.1:1", "preset": "istio"}
        common = {"service": "shop", "strategy": "canary", "fleet": fleet, "analysis": {"metrics": metrics}}
        return service_adapter.validate_python(common | {"router": dict(router)} | parts)

    def deploy(self, slot: Slot, pods: int = 1) -> None:
        """A Deployment, and ready pods of it."""
        own = slot is Slot.BLUE
        name, labels = "shop" if own else f"shop-{slot}", labels_of_pods(slot)
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "shop", "image": "shop:1"}]},
        }
        selector = {"matchLabels": OWN if own else slot_labels("shop", slot)}
        spec = {"replicas": 0, "selector": selector, "template": template}
        self.world.create(DEPLOYMENT, {"metadata": {"name": name}, "spec": spec})
        for _ in range(pods):
            self.add_pod(slot)

    def add_pod(self, slot: Slot) -> None:
        """One more ready pod."""
        number = next(self._numbers)
        spec = {"nodeName": NODE, "containers": [{"name": "shop", "image": "shop:1"}]}
        name = f"{slot}-{number}"
        metadata = {"name": name, "labels": labels_of_pods(slot)}
        self.world.create(POD, {"metadata": metadata, "spec": spec})
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        address = f"10.244.255.{number}"
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": now}]
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": ready,
        }
        self._core.patch_namespaced_pod_status(name, self.namespace, {"status": status})

    def end(self, slot: Slot) -> None:
        """No pod of that slot is left."""
        for pod in self.world.list(POD, labels_of_pods(slot)):
            self._core.delete_namespaced_pod(pod["metadata"]["name"], self.namespace, grace_period_seconds=0)


@dataclass(frozen=True)
class Route:
    """A user's route object, for one router.

    Attributes:
        router: The service file's part.
        spec: It leads to ``shop``, and elsewhere too.
        edit: Changes something in it that is the user's own.
        reweigh: Has it give other weights by slot's Service; None where its weights stand elsewhere.
        parts: What the service file has to say, too.
    """

    router: Mapping[str, object]
    kind: Kind
    spec: Json
    edit: Callable[[Json], None]
    reweigh: Callable[[Json, Mapping[str, int]], None] | None
    parts: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def create(self, world: Cluster, name: str = "shop") -> Json:
        """The object as the server has it."""
        return world.create(
            self.kind, {"metadata": {"name": name} | dict(self.metadata), "spec": deepcopy(self.spec)}
        )

    def read(self, world: Cluster, name: str = "shop") -> Json:
        """The object as it is now."""
        return world.need(self.kind, name)


def plain(found: Json) -> Json:
    """An object without what only the server says of it."""
    kept = deepcopy(found)
    kept.pop("status", None)
    for key in ("resourceVersion", "generation", "managedFields"):
        kept["metadata"].pop(key, None)
    return kept
