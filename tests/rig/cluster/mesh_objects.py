"""Small objects for tests of the mesh, as an API server would give them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.rig.cluster.mesh_source import kind_of
from tests.rig.cluster.translate_base import Json, Objects

NAMESPACE = "shop"


def by_kind(*objects: Json) -> Objects:
    """As a source gives them."""
    found: dict[str, list[Json]] = {}
    for one in objects:
        found.setdefault(kind_of(one), []).append(one)
    return found


def made(api_version: str, kind: str, name: str, spec: Json | None = None, **metadata: object) -> Json:
    """Any object."""
    about = {"namespace": NAMESPACE, "name": name, "generation": 1, **metadata}
    return {"apiVersion": api_version, "kind": kind, "metadata": about, "spec": spec or {}}


def service(name: str, *ports: Json, namespace: str = NAMESPACE) -> Json:
    """A Service; one port 80 called http, unless others are given."""
    return made(
        "v1", "Service", name, {"ports": list(ports) or [{"name": "http", "port": 80}]}, namespace=namespace
    )


def pod(name: str, address: str, **labels: str) -> Json:
    """A pod of the ReplicaSet NAME-0, which a Deployment NAME owns."""
    owner = {"kind": "ReplicaSet", "name": f"{name}-0", "controller": True}
    own = {"pod-template-hash": "0", **labels}
    one = made("v1", "Pod", f"{name}-{address}", labels=own, ownerReferences=[owner], uid=f"{name}-{address}")
    return one | {"status": {"podIP": address}}


def endpoints(
    service: str, pods: Sequence[Json], port: int = 8080, *, ready: bool = True, **own: str
) -> Json:
    """The slice of a Service with these pods."""
    name = own.get("name", "http")
    one = made("discovery.k8s.io/v1", "EndpointSlice", f"{service}-{name}")
    one["metadata"]["labels"] = {"kubernetes.io/service-name": service}
    return one | {
        "ports": [{"name": name, "port": port}],
        "endpoints": [
            {
                "addresses": [each["status"]["podIP"]],
                "conditions": {"ready": ready},
                "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": each["metadata"]["name"]},
            }
            for each in pods
        ],
    }


def destination_rule(host: str, *subsets: str, **spec: object) -> Json:
    """A subset for each version, by the pods' label."""
    found = [{"name": name, "labels": {"version": name}} for name in subsets]
    return made("networking.istio.io/v1", "DestinationRule", host, {"host": host, "subsets": found, **spec})


def virtual_service(host: str, *http: Json, name: str = "", created: str = "", **spec: object) -> Json:
    """One host's HTTP routes."""
    about = {"creationTimestamp": created} if created else {}
    routes = {"http": list(http)} if http else {}
    whole = {"hosts": [host], **routes, **spec}
    return made("networking.istio.io/v1", "VirtualService", name or host.strip("*."), whole, **about)


def to(host: str, subset: str = "", weight: int | None = None, **more: object) -> Json:
    """A destination of a route."""
    destination: Json = {"host": host} | ({"subset": subset} if subset else {})
    if "port" in more:
        destination["port"] = {"number": more.pop("port")}
    return {"destination": destination, **({} if weight is None else {"weight": weight}), **more}
