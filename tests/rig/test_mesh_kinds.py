"""The rig's mesh serves Gateway API's routes and Ingresses too, with a real Envoy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.mesh_log import lines_in
from tests.rig.cluster.mesh_objects import endpoints, service
from tests.rig.cluster.translate_base import Json
from tests.rig.stack import await_that
from tests.rig.test_mesh import Shop, ask, asked, shop
from tests.rig.test_translate_gateway import exact, gateway, route
from tests.rig.test_translate_ingress import ingress, path

__all__ = ["shop"]


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
