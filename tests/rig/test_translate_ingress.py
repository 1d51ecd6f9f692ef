"""The rig reads Ingresses and their canary annotations as ingress-nginx does."""

from __future__ import annotations

import pytest

from tests.rig.cluster.mesh_objects import by_kind, endpoints, made, pod, service
from tests.rig.cluster.mesh_reading import chosen, split
from tests.rig.cluster.translate_base import Entry, Json, Routing, Unsupported
from tests.rig.cluster.translate_ingress import translate

ENTRY = Entry(15001, "ingress", "shop", "shop.example")
NAMES = ("main", "beside", "third")
WORLD = [one for number, name in enumerate(NAMES, 1)
         for one in (service(name), endpoints(name, [pod(name, f"10.244.0.{number}")]))]  # fmt: skip
MAIN, BESIDE = "ingress|shop|main|main|80|", "ingress|shop|main|main|80|shop-beside-80"


def ingress(name: str, *paths: Json, host: str = "shop.example", created: str = "", **canary: str) -> Json:
    """With paths of one host; canary settings are its annotations."""
    settings = {
        f"nginx.ingress.kubernetes.io/{key.replace('_', '-')}": value for key, value in canary.items()
    }
    rule = {"http": {"paths": list(paths) or [path(name)]}} | ({"host": host} if host else {})
    own = {"creationTimestamp": created} if created else {}
    return made("networking.k8s.io/v1", "Ingress", name, {"rules": [rule]}, annotations=settings, **own)


def path(name: str, where: str = "/", kind: str = "Prefix") -> Json:
    """To a Service."""
    return {"path": where, "pathType": kind, "backend": {"service": {"name": name, "port": {"number": 80}}}}


def routed(*ingresses: Json, entry: Entry = ENTRY) -> Routing:
    """With the three Services."""
    return translate(entry, by_kind(*WORLD, *ingresses))


def canary(**settings: str) -> Routing:
    """The main Ingress and a canary with these settings."""
    return routed(ingress("main"), ingress("beside", canary="true", **settings))


def test_an_ingress_sends_its_paths_to_their_services() -> None:
    routing = routed(ingress("main"))
    assert split(chosen(routing.routes)) == {MAIN: 100}
    assert routing.upstreams[MAIN].endpoints == (("127.244.0.1", 8080),)


def test_an_exact_path_comes_before_the_longest_prefix_and_prefixes_are_whole_words() -> None:
    paths = [path("main"), path("beside", "/a"), path("third", "/a/b", "Exact")]
    routes = routed(ingress("main", *paths)).routes

    def service_of(where: str) -> str:
        return next(iter(split(chosen(routes, where)))).split("|")[3]

    assert [service_of(where) for where in ("/", "/a", "/a/b", "/a/b/c", "/ab")] == [
        "main",
        "beside",
        "third",
        "beside",
        "main",
    ]


def test_a_path_that_depends_on_the_implementation_is_a_plain_beginning() -> None:
    routes = routed(ingress("main", path("main", "/a", "ImplementationSpecific"))).routes
    assert chosen(routes, "/abc")
    assert not chosen(routes, "/b")


def test_an_unknown_host_or_path_leads_nowhere_and_a_wildcard_is_one_label() -> None:
    assert routed(ingress("main", host="other.example")).routes == ()
    assert routed(ingress("main", host="*.example")).routes
    assert (
        routed(ingress("main", host="*.example"), ingress("third", path("third", "/x"), host="")).routes[0][
            "name"
        ]
        == "main"
    )
    assert routed(ingress("main", host="")).routes
    deep = Entry(15001, "ingress", "shop", "a.shop.example")
    assert routed(ingress("main", host="*.example"), entry=deep).routes == ()


def test_of_two_ingresses_for_one_path_the_older_counts() -> None:
    newer = ingress("a", path("third"), created="2026-02-01")
    older = ingress("b", path("main"), created="2026-01-01")
    assert split(chosen(routed(newer, older).routes)) == {"ingress|shop|b|main|80|": 100}


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ({"canary_weight": "20"}, {MAIN: 80, BESIDE: 20}),
        ({"canary_weight": "3", "canary_weight_total": "1000"}, {MAIN: 997, BESIDE: 3}),
        ({"canary_weight": "30", "canary_weight_total": "50"}, {MAIN: 70, BESIDE: 30}),
        ({"canary_weight": "0"}, {MAIN: 100}),
        ({"canary_weight": "100"}, {BESIDE: 100}),
        ({"canary_weight": "many"}, {MAIN: 100}),
        ({}, {MAIN: 100}),
    ],
)
def test_a_canary_gets_its_weight_of_a_total_of_at_least_100(
    settings: dict[str, str], served: dict[str, int]
) -> None:
    assert split(chosen(canary(**settings).routes)) == served


def test_header_comes_before_cookie_and_cookie_before_weight() -> None:
    routes = canary(canary_by_header="x-lane", canary_by_cookie="lane", canary_weight="100").routes
    asked = [
        {},
        {"x-lane": "never"},
        {"x-lane": "other", "cookie": "lane=never"},
        {"x-lane": "always", "cookie": "lane=never"},
        {"x-lane": "never", "cookie": "lane=always"},
        {"cookie": "a=b; lane=never"},
    ]
    assert [next(iter(split(chosen(routes, headers=one)))) for one in asked] == [
        BESIDE,
        MAIN,
        MAIN,
        BESIDE,
        MAIN,
        MAIN,
    ]


def test_a_header_value_or_pattern_takes_the_place_of_always_and_never() -> None:
    routes = canary(
        canary_by_header="x-lane", canary_by_header_value="yes", canary_by_header_pattern="n.*"
    ).routes
    assert split(chosen(routes, headers={"x-lane": "yes"})) == {BESIDE: 100}
    assert split(chosen(routes, headers={"x-lane": "always"})) == {MAIN: 100}
    assert split(chosen(routes, headers={"x-lane": "no"})) == {MAIN: 100}
    routes = canary(canary_by_header="x-lane", canary_by_header_pattern="b[0-9]").routes
    assert split(chosen(routes, headers={"x-lane": "ab1c"})) == {BESIDE: 100}
    assert split(chosen(routes, headers={"x-lane": "always"})) == {MAIN: 100}


def test_a_header_or_cookie_that_the_controller_does_not_take_is_as_good_as_none() -> None:
    odd = {"canary_by_header": "x-lane;", "canary_by_cookie": "a=b"}
    assert len(canary(**odd).routes) == 1
    value = canary(canary_by_header="x-lane", canary_by_header_value="a|b").routes
    assert split(chosen(value, headers={"x-lane": "always"})) == {BESIDE: 100}


def test_only_the_oldest_canary_counts() -> None:
    first = ingress("beside", created="2026-01-01", canary="true", canary_weight="10")
    second = ingress("third", created="2026-01-02", canary="true", canary_weight="50")
    for both in ((first, second), (second, first)):
        routes = routed(ingress("main"), *both).routes
        assert split(chosen(routes)) == {MAIN: 90, BESIDE: 10}


def test_a_canary_without_a_main_ingress_for_its_host_and_path_is_ignored() -> None:
    assert routed(ingress("beside", canary="true", canary_weight="100")).routes == ()
    elsewhere = ingress("beside", path("beside", "/x"), canary="true", canary_weight="100")
    assert split(chosen(routed(ingress("main"), elsewhere).routes, "/x")) == {MAIN: 100}
    other_host = ingress("beside", host="", canary="true", canary_weight="100")
    assert split(chosen(routed(ingress("main"), other_host).routes)) == {MAIN: 100}


def test_a_canary_without_endpoints_is_as_good_as_none() -> None:
    world = [one for one in WORLD if not one["metadata"]["name"].startswith("beside")]
    beside = ingress("beside", canary="true", canary_weight="100")
    routes = translate(ENTRY, by_kind(*world, service("beside"), ingress("main"), beside)).routes
    assert split(chosen(routes)) == {MAIN: 100}


def test_a_canary_belongs_to_its_service_on_all_of_its_paths() -> None:
    main = ingress("main", path("main"), path("main", "/b"))
    beside = ingress("beside", path("beside", "/b"), canary="true", canary_weight="10")
    assert split(chosen(routed(main, beside).routes, "/a")) == {MAIN: 90, BESIDE: 10}


def test_a_canary_that_is_not_called_one_is_a_main_ingress_of_its_own() -> None:
    older = ingress("main", created="2026-01-01")
    newer = ingress("beside", created="2026-01-02", canary="false", canary_weight="10")
    assert split(chosen(routed(older, newer).routes)) == {MAIN: 100}


def test_annotations_that_are_not_translated_are_refused_by_name_unless_a_canary_would_ignore_them() -> None:
    with pytest.raises(Unsupported, match=r"Ingress shop/main: .*: mirror-target is not translated"):
        routed(ingress("main", mirror_target="https://a.example"))
    with pytest.raises(Unsupported, match=r"affinity is not translated"):
        canary(affinity="cookie")
    assert canary(canary_weight="100", configuration_snippet="x").routes


def test_another_class_is_another_controllers() -> None:
    other = ingress("main")
    other["spec"]["ingressClassName"] = "haproxy"
    assert routed(other).routes == ()
