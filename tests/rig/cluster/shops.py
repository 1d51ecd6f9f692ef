"""The demo shop on Kubernetes: what its users would have in Git, and its service file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kubernetes import client

from tests.rig.services import LIMITS, STRATEGIES

Json = dict[str, Any]

PORT = 8080
SWITCHING: Json = {"watch": "4s", "scale_down_delay": "3s"}
BAKES: dict[str, Json] = {
    "rolling": {"bake": "6s"},
    "blue-green": SWITCHING,
    "canary": SWITCHING | {"steps": [{"share": 20, "bake": "6s"}, {"share": 50, "bake": "5s"}]},
    "blue-green-canary": SWITCHING | {"trickle": {"share": 20, "bake": "6s"}},
}
"""Longer than with the embedded sampler: Prometheus looks once a second."""
_ARGS = ["--host", "$(POD_IP)", "--port", str(PORT), "--version", "$(IMAGE_TAG)", "--database", "$(DATABASE)"]


def container(database: Path) -> Json:
    """The shop, with what a careful team writes: probe, port, and time for proxies to look away."""
    return {
        "name": "app",
        "image": "shop:1.0",
        "args": _ARGS,
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}},
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "DATABASE", "value": str(database)},
        ],
    }


def deployment(name: str, database: Path, *, shared: bool = False, replicas: int = 2) -> Json:
    """The own Deployment.

    Args:
        shared: Its selector has a label that the Service's lacks, so that the Service can select all slots.
    """
    labels = {"app": name} | ({"track": "stable"} if shared else {})
    pods = {"terminationGracePeriodSeconds": 10, "containers": [container(database)]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pods},
        },
    }


def service(name: str) -> Json:
    """The Service that users know."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def make(api: client.ApiClient, namespace: str, *manifests: Json) -> None:
    """Create Deployments and Services, as ``kubectl create`` does."""
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    for one in manifests:
        if one["kind"] == "Deployment":
            apps.create_namespaced_deployment(namespace, one)
        else:
            core.create_namespaced_service(namespace, one)


def content(
    name: str,
    namespace: str,
    kubeconfig: Path,
    *,
    strategy: str = "canary",
    router: str = "istio",
    prometheus: str = "http://127.0.0.1:9090",
    **own: Any,  # noqa: ANN401 - keys of the service file that are other than usual
) -> Json:
    """A service file's content."""
    metrics = {"source": "prometheus", "url": prometheus}
    metrics |= (
        {"preset": router} if router in ("istio", "nginx") else {"preset": "http", "match": _BY_WORKLOAD}
    )
    found: Json = {
        "service": name,
        "strategy": strategy,
        "replicas": 2,
        "fleet": {
            "kind": "kubernetes",
            "namespace": namespace,
            "kubeconfig": str(kubeconfig),
            "ready_within": "60s",
            "drain": "1s",
        },
        "router": {"kind": router},
        "analysis": {"interval": "500ms", "limits": LIMITS, "metrics": metrics},
        "abort_scale_down_delay": "2s",
        **STRATEGIES[strategy],
        **BAKES[strategy],
    }
    for key, value in own.items():
        found[key] = found[key] | value if key in ("analysis", "fleet") else value
    return found


_BY_WORKLOAD = 'deployment="{workload}", namespace="{namespace}"'

_THE_SERVERS = ("resourceVersion", "generation", "managedFields")
_ISTIO = ("networking.istio.io", "virtualservices")
_GATEWAY = ("gateway.networking.k8s.io", "httproutes")


def virtual_service(name: str) -> Json:
    """A VirtualService as a team has it: the shop, a route to elsewhere, retries and a timeout."""
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "VirtualService",
        "metadata": {"name": name, "labels": {"team": "sales"}, "annotations": {"note": "kept as it is"}},
        "spec": {
            "hosts": [name],
            "http": [
                {
                    "name": "main",
                    "match": [{"uri": {"prefix": "/"}}],
                    "timeout": "10s",
                    "route": [{"destination": {"host": name, "port": {"number": 80}}}],
                },
            ],
        },
    }


def http_route(name: str) -> Json:
    """An HTTPRoute of the gateway ``web``."""
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": name, "port": 80}],
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "labels": {"team": "sales"}},
        "spec": {"parentRefs": [{"name": "web"}], "hostnames": [f"{name}.example"], "rules": [rule]},
    }


def ingress(name: str) -> Json:
    """An Ingress of the class ``nginx``."""
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    rule = {"host": f"{name}.example", "http": {"paths": [path]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "labels": {"team": "sales"}},
        "spec": {"ingressClassName": "nginx", "rules": [rule]},
    }


def bare(found: Json) -> Json:
    """An object without what only the server says of it."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _THE_SERVERS}
    return {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}


def gateway() -> Json:
    """The Gateway ``web`` that HTTPRoutes are attached to."""
    spec = {"gatewayClassName": "rig", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "web"},
        "spec": spec,
    }


def make_gateway(api: client.ApiClient, namespace: str) -> None:
    """Create it."""
    objects = client.CustomObjectsApi(api)
    objects.create_namespaced_custom_object(_GATEWAY[0], "v1", namespace, "gateways", gateway())


def make_route(api: client.ApiClient, namespace: str, router: str, name: str) -> None:
    """Create the route object of a router; kube-proxy needs none."""
    objects = client.CustomObjectsApi(api)
    if router == "istio":
        objects.create_namespaced_custom_object(
            _ISTIO[0], "v1beta1", namespace, _ISTIO[1], virtual_service(name)
        )
    if router == "gateway_api":
        objects.create_namespaced_custom_object(_GATEWAY[0], "v1", namespace, _GATEWAY[1], http_route(name))
    if router == "nginx":
        client.NetworkingV1Api(api).create_namespaced_ingress(namespace, ingress(name))


def read_route(api: client.ApiClient, namespace: str, router: str, name: str) -> Json:
    """The route object as it stands; the Service itself where a router has no other."""
    objects = client.CustomObjectsApi(api)
    if router == "istio":
        found: Json = objects.get_namespaced_custom_object(_ISTIO[0], "v1beta1", namespace, _ISTIO[1], name)
    elif router == "gateway_api":
        found = objects.get_namespaced_custom_object(_GATEWAY[0], "v1", namespace, _GATEWAY[1], name)
    elif router == "nginx":
        one = client.NetworkingV1Api(api).read_namespaced_ingress(name, namespace)
        found = api.sanitize_for_serialization(one)
    else:
        one = client.CoreV1Api(api).read_namespaced_service(name, namespace)
        found = api.sanitize_for_serialization(one)
    return found
