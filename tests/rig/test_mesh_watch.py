"""The rig's mesh follows a real API server: what is written there is served within moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Thread

import pytest
from kubernetes import client

from tests.rig.cluster import shops
from tests.rig.cluster.addresses import Addresses, local_address
from tests.rig.cluster.control_plane import Cluster, ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.mesh_backends import serving
from tests.rig.cluster.mesh_log import lines_in
from tests.rig.cluster.mesh_objects import destination_rule, endpoints, pod, service, to, virtual_service
from tests.rig.cluster.translate_base import Json
from tests.rig.cluster.workloads import Workloads
from tests.rig.stack import await_that
from tests.rig.test_mesh import VERSIONS, ask
from tests.rig.test_translate_gateway import gateway, route
from tests.rig.test_translate_gateway import to as to_backend

PLURALS = {
    "EndpointSlice": "endpointslices",
    "DestinationRule": "destinationrules",
    "VirtualService": "virtualservices",
}


class World:
    """What a test writes through the API."""

    def __init__(self, cluster: Cluster, namespace: str, crds: Sequence[str]) -> None:
        assert crds
        self._core = client.CoreV1Api(cluster.api)
        self._custom = client.CustomObjectsApi(cluster.api)
        self._slices = "v1" if cluster.serves("discovery.k8s.io/v1") else "v1beta1"
        self.namespace = namespace

    def create(self, one: Json) -> None:
        """Create an object in the test's namespace."""
        one = {**one, "metadata": {**one["metadata"], "namespace": self.namespace}}
        one["metadata"].pop("ownerReferences", None)
        if one["kind"] == "Service":
            self._core.create_namespaced_service(self.namespace, one)
        elif one["kind"] == "Pod":
            one["spec"] = {"containers": [{"name": "app", "image": "shop"}]}
            self._core.create_namespaced_pod(self.namespace, one)
            status = {"status": {"podIP": one["status"]["podIP"], "phase": "Running"}}
            self._core.patch_namespaced_pod_status(one["metadata"]["name"], self.namespace, status)
        else:
            if one["kind"] == "EndpointSlice":
                one = self._slice(one)
            group, _, version = one["apiVersion"].partition("/")
            self._custom.create_namespaced_custom_object(
                group, version, self.namespace, PLURALS[one["kind"]], one
            )

    def _slice(self, one: Json) -> Json:
        found = [
            each | {"targetRef": each["targetRef"] | {"namespace": self.namespace}}
            for each in one["endpoints"]
        ]
        own = {"apiVersion": f"discovery.k8s.io/{self._slices}", "addressType": "IPv4", "endpoints": found}
        return one | own

    def split(self, *weights: int) -> Json:
        """Set the weights; the VirtualService as the server then has it."""
        routes = [to("shop", name, weight) for name, weight in zip(VERSIONS, weights, strict=True)]
        patch = {"spec": {"http": [{"route": routes}]}}
        where = "networking.istio.io", "v1", self.namespace, "virtualservices", "shop"
        found: Json = self._custom.patch_namespaced_custom_object(*where, patch)
        return found

    def delete(self) -> None:
        """Take the VirtualService away."""
        where = "networking.istio.io", "v1", self.namespace, "virtualservices", "shop"
        self._custom.delete_namespaced_custom_object(*where)


@pytest.fixture
def world(cluster: Cluster, namespace: str, crds: Sequence[str]) -> Iterator[World]:
    """A Service with a pod of each version that answers, and a VirtualService."""
    made = World(cluster, namespace, crds)
    with Addresses() as addresses:
        pods = [pod(f"shop-{name}", addresses.take(), version=name) for name in VERSIONS]
        first, second = (
            serving(local_address(one["status"]["podIP"]), v) for one, v in zip(pods, VERSIONS, strict=True)
        )
        with first, second:
            rule, route = (
                destination_rule("shop", *VERSIONS),
                virtual_service("shop", {"route": [to("shop")]}),
            )
            for one in (service("shop"), *pods, endpoints("shop", pods), rule, route):
                made.create(one)
            yield made


def test_what_is_written_is_served_within_moments(
    cluster: Cluster, world: World, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    entry = Entry(free_port(), "istio", world.namespace, "shop")
    with Mesh(cluster.api, tmp_path / "mesh", [entry], admin_port=free_port()) as mesh:
        assert {ask(entry.port)[:2] for _ in range(60)} == {(200, "v1"), (200, "v2")}
        lags = []
        for number in range(20):
            began = time.time()
            one = world.split(100 * (number % 2), 100 * ((number + 1) % 2))
            lags.append(mesh.await_served(one) - began)
            assert {ask(entry.port)[:2] for _ in range(5)} == {(200, VERSIONS[(number + 1) % 2])}
        assert sorted(lags)[10] < 0.5
        world.delete()
        deadline = time.monotonic() + 10
        while len({ask(entry.port)[1] for _ in range(10)}) == 1:
            assert time.monotonic() < deadline, "without a VirtualService: still one version"


def test_a_deployment_that_rolls_fails_no_request_of_its_service(
    control_plane: ControlPlane,
    kubelet: Kubelet,
    namespace: str,
    tmp_path: Path,
    free_port: Callable[[], int],
) -> None:
    """Its endpoints come from the real controllers, and its pods leave their proxies time to look away."""
    assert kubelet
    shops.make(
        control_plane.api,
        namespace,
        shops.deployment("shop", tmp_path / "shop.sqlite"),
        shops.service("shop"),
    )
    workloads = Workloads(control_plane, namespace)
    workloads.await_rolled("shop", 2)
    entry = Entry(free_port(), "service", namespace, "shop")
    seen: list[tuple[int, str]] = []
    over = Event()

    def load() -> None:
        while not over.wait(0.005):
            seen.append(ask(entry.port, "/products")[:2])

    with Mesh(control_plane.api, tmp_path / "mesh", [entry], admin_port=free_port()) as mesh:
        await_that(lambda: ask(entry.port, "/products")[0] == 200, 20, "an endpoint")
        loading = Thread(target=load)
        loading.start()
        workloads.set_image("shop", "shop:2.0")
        workloads.await_rolled("shop", 2)
        await_that(lambda: seen[-20:] == [(200, "2.0")] * 20, 20, "only the new version")
        over.set()
        loading.join()
        assert {status for status, _ in seen} == {200}
        assert {version for _, version in seen} == {"1.0", "2.0"}
        await_that(lambda: len(lines_in(mesh.log)) >= len(seen), what="log")
        owners = {mesh.pods.at(line.upstream_host, line.at).workload for line in lines_in(mesh.log)[1:]}
        assert owners <= {"shop", "unknown"}
        assert "shop" in owners


def test_a_route_of_gateway_api_is_told_of_its_own_generation(
    cluster: Cluster, namespace: str, crds: Sequence[str], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    assert crds
    custom = client.CustomObjectsApi(cluster.api)
    where = "gateway.networking.k8s.io", "v1", namespace

    def here(one: Json) -> Json:
        return {**one, "metadata": {"name": one["metadata"]["name"], "namespace": namespace}}

    public = here(gateway())
    public["spec"]["gatewayClassName"] = "rig"
    custom.create_namespaced_custom_object(*where, "gateways", public)
    custom.create_namespaced_custom_object(*where, "httproutes", here(route(to_backend("nobody"))))
    entry = Entry(free_port(), "gateway", namespace, "shop.example", gateway="public")

    def observed() -> tuple[int, int, list[str]]:
        found = custom.get_namespaced_custom_object(*where, "httproutes", "shop")
        parents = (found.get("status") or {}).get("parents") or [{"conditions": []}]
        said = {one["observedGeneration"] for one in parents[0]["conditions"]} or {0}
        return found["metadata"]["generation"], max(said), [one["status"] for one in parents[0]["conditions"]]

    with Mesh(cluster.api, tmp_path / "mesh", [entry], admin_port=free_port()):
        await_that(lambda: observed() == (1, 1, ["True", "False"]), 20, "status")
        client.CoreV1Api(cluster.api).create_namespaced_service(namespace, here(service("nobody")))
        await_that(lambda: observed() == (1, 1, ["True", "True"]), 20, "status after the Service came")
        patch = {"spec": {"hostnames": ["shop.example"]}}
        custom.patch_namespaced_custom_object(*where, "httproutes", "shop", patch)
        await_that(lambda: observed() == (2, 2, ["True", "True"]), 20, "status of the next generation")
        assert ask(entry.port)[0] == 503
