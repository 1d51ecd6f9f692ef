"""Pods and Deployments of one namespace, as the rig's own tests make and read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes import client

from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.stack import await_that

Json = dict[str, Any]

_SHOP = ["--host", "$(POD_IP)", "--port", "8080", "--version", "$(IMAGE_TAG)", "--database", "$(DATABASE)"]
_OF_THE_POD = {
    "nodeName",
    "nodeSelector",
    "readinessGates",
    "restartPolicy",
    "schedulerName",
    "terminationGracePeriodSeconds",
    "volumes",
}


class Workloads:
    """Makes them, waits for what becomes of them, and reads them as JSON."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.namespace = namespace
        self.core, self.apps = client.CoreV1Api(plane.api), client.AppsV1Api(plane.api)
        self._api = plane.api

    def pod(self, name: str = "web", image: str = "shop:1.0", **spec: Any) -> None:  # noqa: ANN401
        """Make a pod; what is not a pod's own is for its one container."""
        own = {key: value for key, value in spec.items() if key in _OF_THE_POD}
        container = {"name": "app", "image": image} | {k: v for k, v in spec.items() if k not in own}
        meta = {"name": name, "labels": {"app": name}}
        body = {"metadata": meta, "spec": {"containers": [container], **own}}
        self.core.create_namespaced_pod(self.namespace, body)

    def shop(self, tag: str, replicas: int = 2) -> None:
        """Make a Deployment of the demo shop."""
        container = {
            "name": "app",
            "image": f"shop:{tag}",
            "args": _SHOP,
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1},
            "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "DATABASE", "value": f"{self.namespace}.sqlite"},
            ],
        }
        self.deployment("shop", container, replicas)

    def deployment(self, name: str, container: Json, replicas: int) -> None:
        """Make a Deployment with one container."""
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
        self.apps.create_namespaced_deployment(self.namespace, {"metadata": {"name": name}, "spec": spec})

    def set_image(self, name: str, image: str) -> None:
        """Have a Deployment roll to another image."""
        spec = {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}
        self.apps.patch_namespaced_deployment(name, self.namespace, {"spec": spec})

    def read(self, name: str = "web") -> Json:
        """A pod as the API has it."""
        content: Json = self._api.sanitize_for_serialization(
            self.core.read_namespaced_pod(name, self.namespace)
        )
        return content

    def pods(self) -> list[Json]:
        """All of them."""
        found = self.core.list_namespaced_pod(self.namespace).items
        content: list[Json] = self._api.sanitize_for_serialization(found)
        return content

    def delete(self, name: str = "web", **options: Any) -> None:  # noqa: ANN401
        """Tell a pod to go."""
        self.core.delete_namespaced_pod(name, self.namespace, **options)

    def await_gone(self, name: str = "web", within: float = 60) -> None:
        """Return once there is no such pod."""
        await_that(lambda: name not in [each["metadata"]["name"] for each in self.pods()], within, "gone")

    def await_waiting(self, reason: str, name: str = "web") -> str:
        """Return once the container waits for *reason*; its message."""

        def message() -> str | None:
            state = container_of(self.read(name)).get("state", {}).get("waiting", {})
            return state.get("message", "-") if state.get("reason") == reason else None

        return await_that(message, within=60, what=reason)

    def await_condition(self, condition: str, status: str, name: str = "web") -> Json:
        """Return once a pod's condition is so; the condition."""

        def found() -> Json | None:
            stated = condition_of(self.read(name), condition)
            return stated if stated.get("status") == status else None

        return await_that(found, within=60, what=f"{condition} {status}")

    def await_rolled(self, name: str, replicas: int, within: float = 120) -> None:
        """Return once a Deployment has nothing but so many available pods of its newest template."""

        def rolled() -> bool:
            found = self.apps.read_namespaced_deployment(name, self.namespace)
            status = found.status
            counts = {status.replicas, status.updated_replicas, status.available_replicas}
            return counts == {replicas} and status.observed_generation == found.metadata.generation

        await_that(rolled, within, f"{name} rolled")


def container_of(pod: Mapping[str, Any]) -> Json:
    """The status of the first container; empty before there is one."""
    return next(iter(pod["status"].get("containerStatuses", ())), {})


def condition_of(pod: Mapping[str, Any], name: str) -> Json:
    """A condition of a pod; empty before there is one."""
    return next((each for each in pod["status"].get("conditions", ()) if each["type"] == name), {})
