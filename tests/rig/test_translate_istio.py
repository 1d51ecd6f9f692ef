"""The rig reads VirtualServices and DestinationRules as Istio does: the features of its published examples."""

from __future__ import annotations

import pytest

from tests.rig.cluster.mesh_objects import (
    by_kind,
    destination_rule,
    endpoints,
    pod,
    service,
    to,
    virtual_service,
)
from tests.rig.cluster.mesh_reading import chosen, split, subsets
from tests.rig.cluster.translate_base import Entry, Json, Routing, Unsupported
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


def routed(*http: Json, entry: Entry = ENTRY) -> Routing:
    """With one VirtualService for reviews."""
    return translate(entry, by_kind(*WORLD, virtual_service("reviews", *http)))


def test_without_a_virtual_service_all_pods_of_the_service_are_called() -> None:
    routing = translate(ENTRY, by_kind(*WORLD))
    name = f"outbound|9080||{FQDN}"
    assert split(chosen(routing.routes)) == {name: 100}
    assert routing.upstreams[name].endpoints == tuple((f"127.244.0.{n}", 9081) for n in (1, 2, 3))


def test_everything_to_one_version_as_in_virtual_service_all_v1() -> None:
    routing = routed({"route": [to("reviews", "v1")]})
    assert subsets(chosen(routing.routes, "/any")) == {"v1": 100}
    assert routing.upstreams[f"outbound|9080|v1|{FQDN}"].endpoints == (("127.244.0.1", 9081),)


@pytest.mark.parametrize(
    ("weights", "served"),
    [
        ({"v1": 50, "v3": 50}, {"v1": 50, "v3": 50}),
        ({"v1": 80, "v2": 20}, {"v1": 80, "v2": 20}),
        ({"v1": 90, "v2": 10}, {"v1": 90, "v2": 10}),
        ({"v1": 1, "v2": 2}, {"v1": 1, "v2": 2}),
        ({"v1": 9999, "v2": 1}, {"v1": 9999, "v2": 1}),
        ({"v1": 100, "v2": 0}, {"v1": 100}),
    ],
)
def test_weights_are_relative_and_none_is_no_destination(
    weights: dict[str, int], served: dict[str, int]
) -> None:
    routing = routed({"route": [to("reviews", name, weight) for name, weight in weights.items()]})
    assert subsets(chosen(routing.routes)) == served
    assert f"outbound|9080|v1|{FQDN}" in routing.upstreams


def test_a_single_destination_gets_everything_whatever_its_weight() -> None:
    assert subsets(chosen(routed({"route": [to("reviews", "v2", 0)]}).routes)) == {"v2": 100}


def test_weights_that_are_all_zero_are_refused_as_istio_does() -> None:
    with pytest.raises(Unsupported, match=r"http\[0\]\.route: total destination weight = 0"):
        routed({"route": [to("reviews", "v1", 0), to("reviews", "v2", 0)]})


def test_a_tester_goes_to_v2_as_in_reviews_test_v2() -> None:
    routes = routed(
        {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [to("reviews", "v2")]},
        {"route": [to("reviews", "v1")]},
    ).routes
    assert subsets(chosen(routes, headers={"end-user": "jason"})) == {"v2": 100}
    assert subsets(chosen(routes, headers={"end-user": "jasons"})) == {"v1": 100}
    assert subsets(chosen(routes)) == {"v1": 100}


def test_a_cookie_may_be_matched_by_an_expression_of_the_whole_header() -> None:
    pattern = "^(.*?;\\s*)?(user=jason)(;.*)?$"
    routes = routed(
        {"match": [{"headers": {"cookie": {"regex": pattern}}}], "route": [to("reviews", "v2")]},
        {"route": [to("reviews", "v1")]},
    ).routes
    assert subsets(chosen(routes, headers={"cookie": "a=b; user=jason; c=d"})) == {"v2": 100}
    assert subsets(chosen(routes, headers={"cookie": "user=jasonx"})) == {"v1": 100}


@pytest.mark.parametrize(
    ("uri", "taken", "left"),
    [
        ({"exact": "/login"}, ["/login", "/login?next=1"], ["/login/", "/logins"]),
        ({"prefix": "/static"}, ["/static", "/static/a", "/statics"], ["/a/static"]),
        ({"regex": "/v[0-9]+/.*"}, ["/v1/a", "/v22/"], ["/v/a", "/a/v1/a"]),
    ],
)
def test_a_path_is_matched_exactly_or_by_its_beginning_or_by_an_expression(
    uri: Json, taken: list[str], left: list[str]
) -> None:
    routes = routed({"match": [{"uri": uri}], "route": [to("reviews", "v1")]}).routes
    assert all(chosen(routes, path) for path in taken)
    assert not any(chosen(routes, path) for path in left)


def test_matches_of_a_route_are_alternatives_and_conditions_of_a_match_hold_together() -> None:
    either = [
        {"uri": {"exact": "/a"}, "method": {"exact": "POST"}},
        {"queryParams": {"test": {"exact": "1"}}, "withoutHeaders": {"x-bot": {}}},
    ]
    routes = routed({"match": either, "route": [to("reviews", "v2")]}).routes
    assert chosen(routes, "/a", method="POST")
    assert not chosen(routes, "/a")
    assert chosen(routes, "/b?test=1")
    assert not chosen(routes, "/b?test=1", {"x-bot": "yes"})


def test_an_empty_string_match_asks_only_for_presence() -> None:
    routes = routed({"match": [{"headers": {"x-test": {}}}], "route": [to("reviews", "v2")]}).routes
    assert chosen(routes, headers={"x-test": ""})
    assert not chosen(routes)


def test_routes_are_tried_in_their_order() -> None:
    routes = routed(
        {"match": [{"uri": {"prefix": "/"}}], "route": [to("reviews", "v1")]},
        {"match": [{"uri": {"exact": "/a"}}], "route": [to("reviews", "v2")]},
    ).routes
    assert subsets(chosen(routes, "/a")) == {"v1": 100}


def test_a_match_for_another_port_or_gateway_never_applies() -> None:
    other = [{"port": 80}, {"gateways": ["public"]}, {"sourceNamespace": "elsewhere"}]
    routes = routed({"match": other, "route": [to("reviews", "v2")]}, {"route": [to("reviews", "v1")]}).routes
    assert len(routes) == 1
    assert routed({"match": [{"port": 9080}], "route": [to("reviews", "v2")]}).routes


def test_a_host_may_be_short_or_full_and_its_port_may_be_named() -> None:
    for host in ("ratings", "ratings.shop.svc.cluster.local"):
        routing = routed({"route": [to(host, port=9080)]})
        assert split(chosen(routing.routes)) == {"outbound|9080||ratings.shop.svc.cluster.local": 100}
    full = virtual_service(FQDN, {"route": [to("ratings")]}, name="full")
    assert split(chosen(translate(ENTRY, by_kind(*WORLD, full)).routes)) == {
        "outbound|9080||ratings.shop.svc.cluster.local": 100
    }


def test_a_service_with_several_ports_is_called_by_the_port_that_users_call() -> None:
    several = service("reviews", {"name": "http", "port": 80}, {"name": "http-admin", "port": 9080})
    vs = virtual_service("reviews", {"route": [to("reviews")]})
    routing = translate(ENTRY, by_kind(several, vs))
    assert split(chosen(routing.routes)) == {f"outbound|9080||{FQDN}": 100}


def test_an_unknown_subset_or_host_or_port_is_named_and_leads_nowhere() -> None:
    for destination in (to("reviews", "v9"), to("nobody"), to("reviews", port=1)):
        routing = routed({"route": [destination]})
        assert not split(chosen(routing.routes)).keys() & routing.upstreams.keys()


def test_a_subset_is_the_pods_with_its_labels_and_only_the_ready_ones() -> None:
    not_ready = endpoints("reviews", [PODS["v1"]], ready=False)
    routing = translate(
        ENTRY, by_kind(service("reviews", HTTP), *PODS.values(), not_ready, destination_rule("reviews", "v1"),
                       virtual_service("reviews", {"route": [to("reviews", "v1")]}))
    )  # fmt: skip
    assert routing.upstreams[f"outbound|9080|v1|{FQDN}"].endpoints == ()


def test_a_mirror_gets_all_requests_unless_it_says_how_many() -> None:
    for share, drawn in (
        ({}, 1_000_000),
        ({"mirrorPercentage": {"value": 12.5}}, 125_000),
        ({"mirrorPercent": 5}, 50_000),
    ):
        route = {"route": [to("reviews", "v1")], "mirror": to("reviews", "v2")["destination"], **share}
        policies = chosen(routed(route).routes)["route"]["request_mirror_policies"]  # type: ignore[index]
        assert policies[0]["cluster"] == f"outbound|9080|v2|{FQDN}"
        assert policies[0]["runtime_fraction"]["default_value"]["numerator"] == drawn


def test_a_mirror_of_zero_percent_is_none_and_there_may_be_several() -> None:
    mirrors = [
        {"destination": to("reviews", "v2")["destination"], "percentage": {"value": 1}},
        {"destination": to("reviews", "v3")["destination"], "percentage": {}},
        {"destination": to("ratings")["destination"]},
    ]
    route = {"route": [to("reviews", "v1")], "mirrors": mirrors}
    policies = chosen(routed(route).routes)["route"]["request_mirror_policies"]  # type: ignore[index]
    assert [one["cluster"].split("|")[2:] for one in policies] == [
        ["v2", FQDN],
        ["", "ratings.shop.svc.cluster.local"],
    ]


def test_headers_of_the_route_and_of_a_destination_are_changed() -> None:
    """Affinity sets a cookie for each destination of a split."""
    cookie = {"response": {"add": {"Set-Cookie": "lane=b; Path=/"}}, "request": {"remove": ["x-secret"]}}
    route = {
        "headers": {"request": {"set": {"x-env": "test"}}},
        "route": [to("reviews", "v1", 50), to("reviews", "v2", 50, headers=cookie)],
    }
    found = chosen(routed(route).routes)
    assert found is not None
    assert found["request_headers_to_add"][0]["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
    second = found["route"]["weighted_clusters"]["clusters"][1]
    assert second["response_headers_to_add"] == [
        {
            "header": {"key": "Set-Cookie", "value": "lane=b; Path=/"},
            "append_action": "APPEND_IF_EXISTS_OR_ADD",
        }
    ]
    assert second["request_headers_to_remove"] == ["x-secret"]


def test_headers_of_a_single_destination_are_changed_too() -> None:
    route = {"route": [to("reviews", "v2", headers={"response": {"set": {"x-lane": "b"}}})]}
    found = chosen(routed(route).routes)
    assert found is not None
    assert found["response_headers_to_add"][0]["header"] == {"key": "x-lane", "value": "b"}
    assert "weight" not in found


def test_there_is_no_timeout_unless_one_is_set() -> None:
    found = [chosen(routed({"route": [to("reviews")], **own}).routes) for own in ({}, {"timeout": "500ms"})]
    assert [one["route"]["timeout"] for one in found if one] == ["0s", "0.5s"]


@pytest.mark.parametrize(
    ("retries", "policy"),
    [
        (None, {"num_retries": 2}),
        ({"attempts": 0}, None),
        ({"attempts": 3, "perTryTimeout": "2s"}, {"num_retries": 3, "per_try_timeout": "2s"}),
        (
            {"attempts": 1, "retryOn": "connect-failure,503"},
            {"retry_on": "connect-failure,retriable-status-codes", "retriable_status_codes": [503]},
        ),
    ],
)
def test_retries_are_istios_two_unless_they_are_set(retries: Json | None, policy: Json | None) -> None:
    own = {} if retries is None else {"retries": retries}
    found = chosen(routed({"route": [to("reviews")], **own}).routes)
    assert found is not None
    given = found["route"].get("retry_policy")
    assert given is None if policy is None else policy.items() <= given.items()


def test_a_path_and_an_authority_may_be_rewritten() -> None:
    route = {
        "match": [{"uri": {"prefix": "/old"}}],
        "rewrite": {"uri": "/new", "authority": "new.example"},
        "route": [to("reviews")],
    }
    found = chosen(routed(route).routes, "/old/a")
    assert found is not None
    assert found["route"]["prefix_rewrite"] == "/new"
    assert found["route"]["host_rewrite_literal"] == "new.example"


@pytest.mark.parametrize(
    "field", [{"fault": {"delay": {}}}, {"redirect": {"uri": "/"}}, {"corsPolicy": {}}, {"delegate": {}}]
)
def test_what_is_not_translated_is_refused_by_name(field: Json) -> None:
    with pytest.raises(Unsupported, match=rf"VirtualService shop/reviews: http\[0\]: {next(iter(field))}"):
        routed({"route": [to("reviews")], **field})
