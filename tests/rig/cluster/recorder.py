"""What the mesh does with each entry, seen from outside: Envoy's admin interface and the pods there are.

Nothing here asks Davy or reads what it writes of itself.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from threading import Event, Thread
from typing import Any, Self

from kubernetes import client
from urllib3.exceptions import HTTPError

from tests.rig.cluster.mesh import Mesh
from tests.rig.cluster.mesh_log import Line
from tests.rig.cluster.mesh_pods import Pod
from tests.rig.recorder import LONGEST, Census, Look, ask
from tests.rig.requests import Request

WHOLE = 10_000
_HOST = re.compile(r"^(.+)::(127[.0-9]+):\d+::health_flags::", re.MULTILINE)
LOOKS = 1 / 8
CENSUSES = 1 / 2
"""Seconds between two looks at Envoy, and at the pods."""


class MeshRecorder:
    """Looks at the mesh and at the pods of a namespace, each in a thread, until it is left."""

    def __init__(
        self, mesh: Mesh, api: client.ApiClient, namespace: str, services: Mapping[str, int]
    ) -> None:
        self._mesh, self._namespace, self._services = mesh, namespace, services
        self._core = client.CoreV1Api(api)
        self._over = Event()
        self.looks: dict[str, list[Look]] = defaultdict(list)
        self.censuses: dict[str, list[Census]] = defaultdict(list)
        self._threads = [
            Thread(target=self._repeat, args=(self._look, LOOKS)),
            Thread(target=self._repeat, args=(self._count, CENSUSES)),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, see: Callable[[], None], pause: float) -> None:
        end = time.monotonic() + LONGEST
        while not self._over.wait(pause) and time.monotonic() < end:
            with suppress(OSError, HTTPException, HTTPError, client.ApiException, ValueError):
                see()  # what cannot be seen is not recorded

    def _look(self) -> None:
        at = time.time()
        weights, text = self._weights(), ask(self._mesh.admin_port, "/clusters")[1]
        if self._weights() != weights:  # a route changed between the two: its cluster may be gone
            return
        pods = self._pods_in(text, at)
        for service, port in self._services.items():
            shares = weights.get(f"entry-{port}", {})
            if split := split_of(shares, pods):
                hosts = hosts_of([pods.get(name, {}) for name in shares])
                self.looks[service].append(Look(at, split, hosts))

    def _weights(self) -> dict[str, dict[str, int]]:
        """By table and cluster, the weights of the route that draws."""
        tables = self._ask("/config_dump?resource=dynamic_route_configs").get("configs", [])
        return {table["route_config"]["name"]: weights_of(table["route_config"]) for table in tables}

    def _pods_in(self, text: str, at: float) -> dict[str, dict[str, str]]:
        """By cluster and address, the slot that answers there; of Envoy's plain list, which is short."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for cluster, host in _HOST.findall(text):
            found[cluster][host] = slot_of(self._mesh.pods.at(host, at))
        return found

    def _ask(self, path: str) -> dict[str, Any]:
        status, text, _ = ask(self._mesh.admin_port, path)
        answer: dict[str, Any] = json.loads(text) if status == 200 else {}
        return answer

    def _count(self) -> None:
        at = time.time()
        pods = self._core.list_namespaced_pod(self._namespace).items
        for service in self._services:
            mine = [pod for pod in pods if pod.metadata.labels.get("rig-service") == service]
            versions = {number: _tag(pod) for number, pod in enumerate(mine)}
            well = {number: _is_ready(pod) for number, pod in enumerate(mine)}
            self.censuses[service].append(Census(at, versions, well))


def weights_of(table: Mapping[str, Any]) -> dict[str, int]:
    """By cluster, the weights of the route that draws, which is the last one."""
    routes = table["virtual_hosts"][0].get("routes") or [{}]
    action = routes[-1].get("route", {})
    if "cluster" in action:
        return {action["cluster"]: 1}
    clusters = action.get("weighted_clusters", {}).get("clusters", [])
    return {one["name"]: one.get("weight", 0) for one in clusters if one.get("weight", 0)}


def split_of(shares: Mapping[str, int], pods: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """The shares by slot: within a cluster each pod gets as much as any other."""
    total = sum(shares.values())
    parts: Counter[str] = Counter()
    for cluster, weight in shares.items():
        slots = Counter(pods.get(cluster, {}).values())
        for slot, count in slots.items():
            parts[slot] += weight / total * count / slots.total()  # type: ignore[assignment]
        if not slots:
            parts["nobody"] += weight / total  # type: ignore[assignment]
    split = {slot: round(WHOLE * part) for slot, part in parts.items()}
    if split:  # thirds do not add up
        split[max(split, key=lambda slot: split[slot])] += WHOLE - sum(split.values())
    return {slot: part for slot, part in split.items() if part}


def hosts_of(clusters: list[Mapping[str, str]]) -> dict[str, dict[int, bool]]:
    """By slot, the pods that get requests; all that Envoy knows are ready."""
    hosts: dict[str, dict[int, bool]] = defaultdict(dict)
    for cluster in clusters:
        for host, slot in cluster.items():
            hosts[slot][int.from_bytes(bytes(map(int, host.split("."))), "big")] = True
    return hosts


def slot_of(pod: Pod) -> str:
    """The slot of a pod: the own Deployment's have no label that says it."""
    return pod.labels.get("davy/slot", "blue")


def request_of(line: Line, mesh: Mesh) -> Request:
    """A line of the mesh's log, as the properties read it."""
    slot = slot_of(mesh.pods.at(line.upstream_host, line.at)) if line.upstream_host else ""
    return Request(line.at, slot, line.kind, line.code, line.version, line.flags)


def _tag(pod: client.V1Pod) -> str:
    return str(pod.spec.containers[0].image).rpartition(":")[2]


def _is_ready(pod: client.V1Pod) -> bool:
    conditions = pod.status.conditions or []
    return any(one.type == "Ready" and one.status == "True" for one in conditions)
