"""The rig's mesh serves Gateway API's routes and Ingresses too, with a real Envoy."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.rig.cluster.addresses import Addresses, local_address
from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.mesh_backends import answering_calls, saying
from tests.rig.cluster.mesh_log import lines_in
from tests.rig.cluster.mesh_objects import destination_rule, endpoints, service, to, virtual_service
from tests.rig.cluster.translate_base import Json
from tests.rig.stack import await_that
from tests.rig.test_mesh import VERSIONS, Shop, ask, asked, shop
from tests.rig.test_translate_gateway import exact, gateway, route
from tests.rig.test_translate_ingress import ingress, path

__all__ = ["shop"]


@pytest.fixture
def silent() -> Iterator[Shop]:
    """Objects of a shop whose pods' processes are for the test to start."""
    with Addresses() as addresses:
        yield Shop(addresses)


def services(shop: Shop) -> None:
    """One for each version."""
    for name, one in shop.pods.items():
        shop.source.put(service(name), endpoints(name, [one]))


def backends(*weights: int, **more: object) -> Json:
    """A rule that splits between the two versions."""
    refs = [{"name": f"v{number}", "port": 80, "weight": weight} for number, weight in enumerate(weights, 1)]
    return {"backendRefs": refs, **more}


def test_a_route_of_gateway_api_is_served_and_then_says_so(
    shop: Shop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    services(shop)
    shop.source.put(gateway())
    entry = Entry(free_port(), "gateway", "shop", "shop.example", gateway="public")
    with Mesh(shop.source, tmp_path / "mesh", [entry], admin_port=free_port()) as mesh:
        assert ask(entry.port)[0] == 404
        for weights, versions in (((100, 0), {"v1"}), ((0, 1), {"v2"}), ((1, 1), {"v1", "v2"})):
            one = shop.put(route(backends(*weights)))
            mesh.await_served(one)
            assert {version for _, version in asked(entry.port)} == versions
            await_that(lambda: _observed(shop, one), what="status")  # noqa: B023 - asked at once
        rule = {"backendRefs": [{"name": "v1", "port": 80}, {"name": "nobody", "port": 80}]}
        mesh.await_served(shop.put(route(rule)))
        assert set(asked(entry.port)) == {(200, "v1"), (500, "")}
        mesh.await_served(shop.put(route({"backendRefs": []}, {**backends(1, 0), "matches": [exact("/a")]})))
        assert [ask(entry.port, where)[0] for where in ("/", "/a")] == [500, 200]


def _observed(shop: Shop, one: Json) -> bool:
    status = shop.source.get("HTTPRoute", "shop", "shop").get("status", {})
    return [
        (said["type"], said["status"])
        for parent in status.get("parents", ())
        for said in parent["conditions"]
        if said["observedGeneration"] == one["metadata"]["generation"]
    ] == [("Accepted", "True"), ("ResolvedRefs", "True")]


def test_a_canary_ingress_is_served_by_header_cookie_and_weight_and_logged_as_one(
    shop: Shop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    services(shop)
    entry = Entry(free_port(), "ingress", "shop", "shop.example")
    shop.source.put(ingress("main", path("v1")))
    settings = {"canary": "true", "canary_by_header": "x-lane", "canary_by_cookie": "lane"}
    with Mesh(shop.source, tmp_path / "mesh", [entry], admin_port=free_port()) as mesh:
        assert set(asked(entry.port, 20)) == {(200, "v1")}
        mesh.await_served(shop.put(ingress("beside", path("v2"), **settings)))
        assert set(asked(entry.port, 20)) == {(200, "v1")}
        assert ask(entry.port, x_lane="always")[1] == "v2"
        assert ask(entry.port, cookie="a=b; lane=always")[1] == "v2"
        assert ask(entry.port, cookie="lane=always", x_lane="never")[1] == "v1"
        mesh.await_served(shop.put(ingress("beside", path("v2"), canary_weight="50", **settings)))
        assert {version for _, version in asked(entry.port)} == {"v1", "v2"}
        await_that(lambda: len(lines_in(mesh.log)) == 103, what="log")
        kinds = Counter(line.cluster.rpartition("|")[2] for line in lines_in(mesh.log))
        assert set(kinds) == {"", "shop-v2-80"}
        shop.source.put(service("v2"), endpoints("v2", []))
        await_that(lambda: set(asked(entry.port, 20)) == {(200, "v1")}, what="a canary without endpoints")


def test_calls_go_to_the_backend_of_their_service(
    silent: Shop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    services(silent)
    match = {"matches": [{"method": {"service": "shop.Cart"}}]}
    silent.source.put(gateway(), route(backends(0, 1, **match), backends(1, 0), kind="GRPCRoute"))
    entry = Entry(free_port(), "gateway", "shop", "shop.example", gateway="public")
    with ExitStack() as stack:
        for name, one in silent.pods.items():
            stack.enter_context(answering_calls(local_address(one["status"]["podIP"]), name))
        mesh = stack.enter_context(Mesh(silent.source, tmp_path / "mesh", [entry], admin_port=free_port()))
        calling = stack.enter_context(httpx.Client(http1=False, http2=True, trust_env=False))
        url = f"http://127.0.0.1:{entry.port}"
        grpc = {"content-type": "application/grpc"}
        said = [calling.post(f"{url}/{name}/Get", headers=grpc) for name in ("shop.Cart", "shop.Stock")]
        assert [one.headers["x-version"] for one in said] == ["v2", "v1"]
        assert calling.post(f"{url}/shop.Cart/Get").status_code == 404
        await_that(lambda: len(lines_in(mesh.log)) == 3, what="log")
        assert [line.grpc for line in lines_in(mesh.log)] == [0, 0, None]


def test_encrypted_connections_go_by_the_name_that_they_ask_for(
    silent: Shop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Unopened: what a client first says holds the name."""
    tls = [{"match": [{"sniHosts": [f"{name}.example"]}], "route": [to("secret", name)]} for name in VERSIONS]
    silent.source.put(
        service("secret", {"name": "tls", "port": 443}),
        endpoints("secret", [*silent.pods.values()], name="tls"),
        destination_rule("secret", *VERSIONS),
        virtual_service("secret", tls=tls),
    )
    entry = Entry(free_port(), "istio", "shop", "secret", 443)
    with ExitStack() as stack:
        for name, one in silent.pods.items():
            stack.enter_context(saying(local_address(one["status"]["podIP"]), name))
        stack.enter_context(Mesh(silent.source, tmp_path / "mesh", [entry], admin_port=free_port()))
        assert [_answer(entry.port, f"{name}.example") for name in VERSIONS] == [b"v1", b"v2"]


def _answer(port: int, name: str) -> bytes:
    """What a server says to a client that asks for *name*."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(said.read())
        return connection.recv(10)
