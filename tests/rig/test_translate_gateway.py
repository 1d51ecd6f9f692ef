"""The rig reads HTTPRoutes and GRPCRoutes as Gateway API has it, and says in their status what became of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rig.cluster.mesh_objects import by_kind, endpoints, made, pod, service
from tests.rig.cluster.mesh_reading import chosen, split
from tests.rig.cluster.translate_base import Entry, Json, Routing, Unsupported
from tests.rig.cluster.translate_gateway import NOWHERE, statuses, translate

API = "gateway.networking.k8s.io/v1"
ENTRY = Entry(15001, "gateway", "shop", "shop.example", 80, gateway="public")
MESH = Entry(15002, "gateway", "shop", "a")
NAMES = ("a", "b", "c")
WORLD = [one for number, name in enumerate(NAMES, 1)
         for one in (service(name), endpoints(name, [pod(name, f"10.244.0.{number}")]))]  # fmt: skip


def gateway(**listener: object) -> Json:
    """One listener, called web."""
    return made(
        API, "Gateway", "public", {"listeners": [{"name": "web", "port": 80, "protocol": "HTTP"} | listener]}
    )


def route(
    *rules: Json, name: str = "shop", kind: str = "HTTPRoute", created: str = "", **spec: object
) -> Json:
    """Attached to the gateway."""
    own = {"creationTimestamp": created} if created else {}
    whole = {"parentRefs": [{"name": "public"}], "rules": list(rules), **spec}
    return made(API, kind, name, whole, **own)


def backends(*weights: tuple[str, int], **more: object) -> Json:
    """A rule that splits."""
    return {"backendRefs": [{"name": name, "port": 80, "weight": weight} for name, weight in weights], **more}


def to(name: str, *matches: Json, **more: object) -> Json:
    """A rule with one backend."""
    own = {"matches": list(matches)} if matches else {}
    return {"backendRefs": [{"name": name, "port": 80}], **own, **more}


def routed(*objects: Json, entry: Entry = ENTRY) -> Routing:
    """With the gateway and the Services."""
    return translate(entry, by_kind(*WORLD, gateway(), *objects))


def served(
    routing: Routing, path: str = "/", headers: dict[str, str] | None = None, method: str = "GET"
) -> str:
    """The one backend that gets it; empty for none."""
    found = split(chosen(routing.routes, path, headers, method))
    return next(iter(found)).split("|")[2] if found else ""


def prefix(value: str, **more: object) -> Json:
    return {"path": {"type": "PathPrefix", "value": value}, **more}


def exact(value: str, **more: object) -> Json:
    return {"path": {"type": "Exact", "value": value}, **more}


def test_weights_are_relative_and_one_is_meant_where_none_is_said() -> None:
    routing = routed(route(backends(("a", 90), ("b", 10), ("c", 0))))
    assert split(chosen(routing.routes)) == {"gateway|shop|a|80": 90, "gateway|shop|b|80": 10}
    assert routing.upstreams["gateway|shop|c|80"].endpoints == (("127.244.0.3", 8080),)
    assert split(chosen(routed(route(to("a"))).routes)) == {"gateway|shop|a|80": 1}


def test_a_backend_that_is_not_there_answers_500_for_its_share() -> None:
    for missing in (
        {"name": "nobody", "port": 80},
        {"name": "b", "port": 1},
        {"name": "b", "port": 80, "kind": "Other"},
    ):
        rule = backends(("a", 3))
        rule["backendRefs"].append(missing)
        found = chosen(routed(route(rule)).routes)
        assert split(found) == {"gateway|shop|a|80": 3, NOWHERE: 1}
        assert found is not None
        assert found["route"]["cluster_not_found_response_code"] == "INTERNAL_SERVER_ERROR"


def test_a_rule_without_any_weight_answers_500() -> None:
    for rule in (backends(("a", 0), ("b", 0)), {}):
        found = chosen(routed(route(rule)).routes)
        assert found is not None
        assert found["direct_response"] == {"status": 500}


def test_a_prefix_is_whole_words_and_everything_is_taken_where_nothing_is_said() -> None:
    routing = routed(route(to("a", prefix("/x/"))))
    assert [served(routing, path) for path in ("/x", "/x/y", "/xy", "/")] == ["a", "a", "", ""]
    assert served(routed(route(to("b"))), "/any/thing") == "b"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (exact("/x"), prefix("/x", headers=[{"name": "h", "value": "1"}], method="GET")),
        (prefix("/x"), prefix("/", method="GET", headers=[{"name": "h", "value": "1"}])),
        (prefix("/x"), {"path": {"type": "RegularExpression", "value": "/x.*"}}),
        (prefix("/", method="GET"), prefix("/", headers=[{"name": "h", "value": "1"}])),
        (
            prefix("/", headers=[{"name": "h", "value": "1"}]),
            prefix("/", queryParams=[{"name": "q", "value": "1"}]),
        ),
        (prefix("/", queryParams=[{"name": "q", "value": "1"}]), prefix("/")),
    ],
)
def test_the_more_precise_match_wins_whatever_the_order(first: Json, second: Json) -> None:
    """Exact path, longer prefix, method, more headers, more parameters."""
    for rules in ([to("a", first), to("b", second)], [to("b", second), to("a", first)]):
        assert served(routed(route(*rules)), "/x?q=1", {"h": "1"}) == "a"


def test_of_equal_matches_the_older_routes_wins_then_the_first_by_name_then_the_first_rule() -> None:
    old, new = route(to("a"), name="z", created="2026-01-01"), route(to("b"), name="y", created="2026-02-01")
    assert served(routed(new, old)) == "a"
    assert served(routed(route(to("b"), name="z"), route(to("a"), name="y"))) == "a"
    assert served(routed(route(to("a"), to("b")))) == "a"


def test_a_more_specific_host_name_wins_before_any_match() -> None:
    wide = route(to("b", exact("/x")), name="a", hostnames=["*.example"])
    narrow = route(to("a"), name="b", hostnames=["shop.example"])
    assert served(routed(wide, narrow), "/x") == "a"


def test_conditions_of_a_match_hold_together_and_matches_are_alternatives() -> None:
    both = prefix(
        "/",
        headers=[{"name": "X-Lane", "value": "b"}, {"name": "x-lane", "value": "ignored"}],
        queryParams=[{"name": "q", "type": "RegularExpression", "value": "[0-9]+"}],
    )
    routing = routed(route(to("b", both, exact("/b")), to("a")))
    assert served(routing, "/?q=12", {"x-lane": "b"}) == "b"
    assert served(routing, "/?q=x", {"x-lane": "b"}) == "a"
    assert served(routing, "/b") == "b"


def test_a_route_is_attached_by_gateway_section_port_host_and_namespace() -> None:
    foreign = route(to("a"), parentRefs=[{"name": "public", "namespace": "shop"}])
    foreign["metadata"]["namespace"] = "elsewhere"
    refs: list[Json] = [
        {"name": "other"},
        {"name": "public", "sectionName": "tls"},
        {"name": "public", "port": 1},
    ]
    apart = [route(to("a"), parentRefs=[ref]) for ref in refs]
    for one in (*apart, foreign, route(to("a"), hostnames=["other.example"])):
        assert routed(one).routes == ()
    narrow = gateway(hostname="*.example", allowedRoutes={"namespaces": {"from": "All"}})
    assert translate(ENTRY, by_kind(*WORLD, narrow, foreign)).routes
    assert translate(ENTRY, by_kind(*WORLD, gateway(hostname="*.org"), route(to("a")))).routes == ()


def test_filters_change_headers_and_copy_requests() -> None:
    cookie = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"add": [{"name": "Set-Cookie", "value": "l=b"}]},
    }
    request = {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x", "value": "1"}], "remove": ["y"]},
    }
    mirrors = [
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "c", "port": 80}, **share}}
        for share in ({}, {"percent": 5}, {"percent": 0}, {"fraction": {"numerator": 1, "denominator": 1000}})
    ]
    rule = to("a", filters=[request, *mirrors])
    rule["backendRefs"][0]["filters"] = [cookie]
    found = chosen(routed(route(rule)).routes)
    assert found is not None
    assert found["request_headers_to_remove"] == ["y"]
    part = found["route"]["weighted_clusters"]["clusters"][0]
    assert part["response_headers_to_add"][0]["append_action"] == "APPEND_IF_EXISTS_OR_ADD"
    drawn = [
        one["runtime_fraction"]["default_value"]["numerator"]
        for one in found["route"]["request_mirror_policies"]
    ]
    assert drawn == [1_000_000, 50_000, 1000]


def test_timeouts_are_those_of_the_request_and_of_each_try() -> None:
    found = chosen(routed(route(to("a", timeouts={"request": "2s", "backendRequest": "500ms"}))).routes)
    assert found is not None
    assert found["route"]["timeout"] == "2s"
    assert found["route"]["retry_policy"]["per_try_timeout"] == "0.5s"


def test_what_is_not_translated_is_refused_by_name() -> None:
    rewrite = {"type": "URLRewrite", "urlRewrite": {}}
    for rule, field in (
        (to("a", filters=[rewrite]), r"filters\[0\]: URLRewrite"),
        (to("a", retry={}), "retry"),
    ):
        with pytest.raises(Unsupported, match=rf"HTTPRoute shop/shop: rules\[0\].*{field}"):
            routed(route(rule))


def test_calls_are_matched_by_service_and_method() -> None:
    rules = [
        to("a"),
        to("b", {"method": {"service": "shop.Cart"}}),
        to("c", {"method": {"service": "shop.Cart", "method": "Add"}}),
    ]
    routing = routed(route(*rules, kind="GRPCRoute"))
    grpc = {"content-type": "application/grpc"}
    assert [served(routing, path, grpc) for path in ("/shop.Cart/Add", "/shop.Cart/Get", "/x/y")] == [
        "c",
        "b",
        "a",
    ]
    assert served(routing, "/x/y") == ""
    assert "typed_extension_protocol_options" in routing.upstreams["gateway|shop|a|80"].options


def test_in_the_mesh_a_route_belongs_to_the_service_that_is_called() -> None:
    parent = [{"kind": "Service", "group": "", "name": "a", "port": 80}]
    routing = routed(route(to("b"), parentRefs=parent, hostnames=["ignored.example"]), entry=MESH)
    assert served(routing) == "b"
    assert next(iter(routed(entry=MESH).upstreams)) == "service|shop|a|80"


def said(*objects: Json) -> dict[str, tuple[str, str, int]]:
    """Status, reason and observed generation of the first route's conditions."""
    found = list(statuses([ENTRY, MESH], by_kind(*WORLD, *objects)))
    conditions = found[0][1]["parents"][0]["conditions"] if found else []
    return {one["type"]: (one["status"], one["reason"], one["observedGeneration"]) for one in conditions}


def test_a_route_that_is_served_is_accepted_with_its_references_resolved() -> None:
    one = route(to("a"))
    one["metadata"]["generation"] = 7
    assert said(gateway(), one) == {
        "Accepted": ("True", "Accepted", 7),
        "ResolvedRefs": ("True", "ResolvedRefs", 7),
    }


@pytest.mark.parametrize(
    ("ref", "hostnames", "rule", "reasons"),
    [
        ({"name": "public", "sectionName": "x"}, [], to("a"), {("Accepted", "False", "NoMatchingParent")}),
        ({"name": "public"}, ["a.org"], to("a"), {("Accepted", "False", "NoMatchingListenerHostname")}),
        ({"name": "public"}, [], to("nobody"), {("ResolvedRefs", "False", "BackendNotFound")}),
    ],
)
def test_a_route_is_told_what_is_wrong(
    ref: Json, hostnames: list[str], rule: Json, reasons: set[Any]
) -> None:
    found = said(gateway(hostname="*.example"), route(rule, parentRefs=[ref], hostnames=hostnames))
    assert reasons <= {(kind, status, reason) for kind, (status, reason, _) in found.items()}


def test_a_status_is_written_once_and_leaves_what_others_have_said() -> None:
    other = {"parentRef": {"name": "public"}, "controllerName": "other.example/one", "conditions": []}
    one = route(to("a")) | {"status": {"parents": [other]}}
    _, status = next(iter(statuses([ENTRY], by_kind(*WORLD, gateway(), one))))
    assert status["parents"][0] == other
    assert not list(statuses([ENTRY], by_kind(*WORLD, gateway(), one | {"status": status})))


def test_nobody_speaks_of_a_gateway_that_is_another_controllers_or_not_there() -> None:
    elsewhere = route(to("a"), parentRefs=[{"name": "other"}])
    assert not said(gateway(), elsewhere)
    assert not said(route(to("a")))
