"""Which of Istio's objects apply to a host, in a sidecar and on a gateway, and what a DestinationRule says."""

from __future__ import annotations

import pytest

from tests.rig.cluster.mesh_objects import (
    by_kind,
    destination_rule,
    endpoints,
    made,
    pod,
    service,
    to,
    virtual_service,
)
from tests.rig.cluster.mesh_reading import chosen, split, subsets
from tests.rig.cluster.translate_base import Entry, Unsupported
from tests.rig.cluster.translate_istio import translate

ENTRY = Entry(15001, "istio", "shop", "reviews", 9080)
HTTP = {"name": "http", "port": 9080}
PODS = {
    version: pod(f"reviews-{version}", f"10.244.0.{version[1]}", version=version)
    for version in ("v1", "v2", "v3")
}
WORLD = [
    service("reviews", HTTP),
    service("ratings", HTTP),
    *PODS.values(),
    endpoints("reviews", [*PODS.values()], 9081),
    destination_rule("reviews", "v1", "v2", "v3"),
]
FQDN = "reviews.shop.svc.cluster.local"


GATEWAY = made(
    "networking.istio.io/v1",
    "Gateway",
    "public",
    {
        "servers": [
            {"port": {"number": 8080, "protocol": "HTTP"}, "hosts": ["*"]},
            {"port": {"number": 31400, "protocol": "TCP"}, "hosts": ["*"]},
        ]
    },
)
BOOKINFO = Entry(15002, "istio", "shop", "book.example", 8080, gateway="public")


def test_of_two_virtual_services_for_a_host_a_sidecar_takes_the_older() -> None:
    newer = virtual_service("reviews", {"route": [to("reviews", "v2")]}, name="a", created="2026-02-01")
    older = virtual_service("reviews", {"route": [to("reviews", "v1")]}, name="b", created="2026-01-01")
    assert subsets(chosen(translate(ENTRY, by_kind(*WORLD, newer, older)).routes)) == {"v1": 100}


def test_a_more_specific_host_wins_over_an_older_one() -> None:
    wide = virtual_service("*.shop.svc.cluster.local", {"route": [to("reviews", "v2")]}, created="2026-01-01")
    narrow = virtual_service("reviews", {"route": [to("reviews", "v1")]}, created="2026-02-01")
    assert subsets(chosen(translate(ENTRY, by_kind(*WORLD, wide, narrow)).routes)) == {"v1": 100}
    assert subsets(chosen(translate(ENTRY, by_kind(*WORLD, wide)).routes)) == {"v2": 100}


def test_a_virtual_service_of_another_namespace_means_its_own_services() -> None:
    other = virtual_service("reviews", {"route": [to("reviews", "v2")]})
    other["metadata"]["namespace"] = "elsewhere"
    assert subsets(chosen(translate(ENTRY, by_kind(*WORLD, other)).routes)) == {"": 100}


def test_rules_for_one_host_are_merged_and_the_first_subset_of_a_name_wins() -> None:
    second = destination_rule("reviews", "v1")
    second["metadata"]["name"] = "z"
    second["spec"]["subsets"] = [
        {"name": "v1", "labels": {"version": "v3"}},
        {"name": "beta", "labels": {"version": "v2"}},
    ]
    vs = virtual_service("reviews", {"route": [to("reviews", "v1", 1), to("reviews", "beta", 1)]})
    upstreams = translate(ENTRY, by_kind(*WORLD, second, vs)).upstreams
    assert [upstreams[f"outbound|9080|{name}|{FQDN}"].endpoints[0][0] for name in ("v1", "beta")] == [
        "127.244.0.1",
        "127.244.0.2",
    ]


def test_a_traffic_policy_sets_balancer_pools_and_outliers() -> None:
    policy = {
        "loadBalancer": {"simple": "ROUND_ROBIN"},
        "connectionPool": {"tcp": {"maxConnections": 7, "connectTimeout": "1s"}},
        "outlierDetection": {"consecutive5xxErrors": 3, "interval": "5s"},
    }
    rule = destination_rule("reviews", "v1", trafficPolicy=policy)
    world = [one for one in WORLD if one["kind"] != "DestinationRule"]
    options = translate(ENTRY, by_kind(*world, rule)).upstreams[f"outbound|9080||{FQDN}"].options
    assert options["lb_policy"] == "ROUND_ROBIN"
    assert options["circuit_breakers"]["thresholds"][0]["max_connections"] == 7
    assert options["outlier_detection"]["consecutive_5xx"] == 3
    rule["spec"]["trafficPolicy"] = {"loadBalancer": {"consistentHash": {}}}
    with pytest.raises(Unsupported, match=r"loadBalancer: consistentHash"):
        translate(ENTRY, by_kind(*world, rule))


def test_through_a_gateway_only_what_is_bound_to_it_applies() -> None:
    """As in bookinfo-gateway: some paths of any host, and a port of the destination."""
    paths = [{"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/static"}}]
    bound = virtual_service(
        "*", {"match": paths, "route": [to("reviews", port=9080)]}, name="book", gateways=["public"]
    )
    inside = virtual_service("reviews", {"route": [to("reviews", "v2")]})
    routes = translate(BOOKINFO, by_kind(*WORLD, GATEWAY, bound, inside)).routes
    assert split(chosen(routes, "/static/a")) == {f"outbound|9080||{FQDN}": 100}
    assert chosen(routes, "/else") is None
    assert subsets(chosen(translate(ENTRY, by_kind(*WORLD, bound, inside)).routes)) == {"v2": 100}


def test_on_a_gateway_virtual_services_of_a_host_are_merged_and_what_takes_all_comes_last() -> None:
    old = virtual_service(
        "book.example",
        {"route": [to("reviews", "v1")]},
        name="a",
        created="2026-01-01",
        gateways=["shop/public"],
    )
    new = virtual_service(
        "book.example",
        {"match": [{"uri": {"prefix": "/b"}}], "route": [to("reviews", "v2")]},
        name="b",
        created="2026-02-01",
        gateways=["public", "mesh"],
    )
    routes = translate(BOOKINFO, by_kind(*WORLD, GATEWAY, old, new)).routes
    assert subsets(chosen(routes, "/b")) == {"v2": 100}
    assert subsets(chosen(routes, "/a")) == {"v1": 100}


def test_a_gateway_without_such_a_server_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"shop/public: no server for book\.example at port 1"):
        translate(Entry(1, "istio", "shop", "book.example", 1, gateway="public"), by_kind(GATEWAY))


def test_connections_are_split_by_weight_as_in_tcp_echo_20_v2() -> None:
    echo = service("echo", {"name": "tcp", "port": 9000})
    split_up = [to("echo", "v1", 80, port=9000), to("echo", "v2", 20, port=9000)]
    vs = virtual_service(
        "*",
        name="echo",
        gateways=["public"],
        tcp=[
            {"match": [{"port": 1}], "route": [to("echo")]},
            {"match": [{"port": 31400}], "route": split_up},
        ],
    )
    entry = Entry(15003, "istio", "shop", "any", 31400, gateway="public")
    routing = translate(entry, by_kind(echo, destination_rule("echo", "v1", "v2"), GATEWAY, vs))
    assert routing.chains is not None
    proxy = routing.chains[0]["filters"][0]["typed_config"]
    assert {one["name"].split("|")[2]: one["weight"] for one in proxy["weighted_clusters"]["clusters"]} == {
        "v1": 80,
        "v2": 20,
    }
    plain = Entry(15004, "istio", "shop", "echo", 9000)
    chains = translate(plain, by_kind(echo)).chains or ()
    assert chains[0]["filters"][0]["typed_config"]["cluster"] == "outbound|9000||echo.shop.svc.cluster.local"


def test_encrypted_connections_go_by_the_server_name_that_they_ask_for() -> None:
    secret = service("secret", {"name": "tls", "port": 443})
    tls = [
        {"match": [{"port": 443, "sniHosts": ["a.example"]}], "route": [to("secret", "v1")]},
        {"match": [{"port": 443, "sniHosts": ["a.example"]}], "route": [to("secret", "v2")]},
        {"match": [{"port": 443, "sniHosts": ["*.b.example"]}], "route": [to("secret", "v2")]},
    ]
    vs = virtual_service("secret", tls=tls)
    routing = translate(
        Entry(15005, "istio", "shop", "secret", 443),
        by_kind(secret, destination_rule("secret", "v1", "v2"), vs),
    )
    found = {
        chain["filter_chain_match"]["server_names"][0]: chain["filters"][0]["typed_config"]["cluster"].split(
            "|"
        )[2]
        for chain in routing.chains or ()
    }
    assert found == {"a.example": "v1", "*.b.example": "v2"}
