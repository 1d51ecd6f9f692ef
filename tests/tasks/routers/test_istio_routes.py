"""A VirtualService's routes as pure values: split exactly, put back exactly, and nothing else touched."""

from __future__ import annotations

import re

import pytest

from tasks.cluster.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.istio_matches import shared_hosts
from tasks.routers.istio_routes import IstioRoutes
from tasks.routers.service_names import ServiceNames

ROUTES = IstioRoutes(ServiceNames("web", "shop"))
BLUE, CANDIDATE = Slot.BLUE, Slot.CANDIDATE
TENTH = Split({BLUE: 9_000, CANDIDATE: 1_000})
TESTER = Match("header", "X-Tester", "yes")
COOKIE = Match("cookie", "beta", "a.b*c")


def to(host: str, weight: int | None = None, **more: object) -> Json:
    return {"destination": {"host": host}} | ({} if weight is None else {"weight": weight}) | more


def http(*route: Json, **more: object) -> Json:
    return {"route": list(route)} | more


def weights(route: Json) -> dict[str, int]:
    return {one["destination"]["host"]: one["weight"] for one in route["route"]}


def only(spec: Json) -> Json:
    (route,) = spec["http"]
    return dict(route)


FORMS = ["shop", "shop.web", "shop.web.svc", "shop.web.svc.cluster.local", "shop.web.svc.corp.example"]


@pytest.mark.parametrize("host", FORMS)
def test_the_service_is_known_in_every_form_and_keeps_it(host: str) -> None:
    spec = {"http": [http(to(host))]}
    assert ROUTES.leads_here(spec)
    routed = ROUTES.routed(spec, Traffic(TENTH))
    assert weights(only(routed)) == {
        host.replace("shop", "shop-blue"): 90,
        host.replace("shop", "shop-candidate"): 10,
    }


@pytest.mark.parametrize(
    "host", ["shops", "shop.other", "shop.other.svc", "shop.com", "shop.web.com", "a.shop.web", "*"]
)
def test_other_hosts_are_left_alone(host: str) -> None:
    spec = {"http": [http(to(host))]}
    assert not ROUTES.leads_here(spec)
    assert ROUTES.routed(spec, Traffic(TENTH)) == spec


@pytest.mark.parametrize(
    ("route", "split", "expected"),
    [
        ([to("shop")], {BLUE: 10_000}, [100]),
        ([to("shop", 0)], TENTH.shares, [90, 10]),
        ([to("shop", 100)], {BLUE: 9_999, CANDIDATE: 1}, [9_999, 1]),
        ([to("shop", 90), to("other", 10)], TENTH.shares, [81, 9, 10]),
        ([to("other", 10), to("shop", 90)], {BLUE: 9_950, CANDIDATE: 50}, [1_000, 8_955, 45]),
        ([to("shop", 1), to("other", 2)], TENTH.shares, [9, 1, 20]),
        ([to("shop", 90), to("other", 10)], {BLUE: 9_999, CANDIDATE: 1}, [89_991, 9, 10_000]),
        ([to("shop", 0), to("other", 10)], TENTH.shares, [0, 10]),
        ([to("shop", 50), to("shop.web", 50)], TENTH.shares, [45, 5, 45, 5]),
    ],
)
def test_weights_are_the_smallest_that_are_exact(
    route: list[Json], split: dict[Slot, int], expected: list[int]
) -> None:
    """Whole percents add up to 100, as old versions of Istio want it."""
    routed = ROUTES.routed({"http": [http(*route)]}, Traffic(Split(split)))
    assert [one["weight"] for one in only(routed)["route"]] == expected


def test_a_destination_keeps_its_port_and_headers_but_not_its_subset() -> None:
    headers = {"request": {"set": {"x-via": "istio"}}}
    one = {"destination": {"host": "shop", "port": {"number": 80}, "subset": "v1"}, "headers": headers}
    routed = ROUTES.routed({"http": [http(one)]}, Traffic(Split.all_to(BLUE)))
    destination = {"host": "shop-blue", "port": {"number": 80}}
    assert only(routed)["route"] == [{"destination": destination, "headers": headers, "weight": 100}]


def test_a_service_without_weight_gets_nothing_so_nothing_leads_there() -> None:
    assert not ROUTES.leads_here({"http": [http(to("shop", 0), to("other", 10))]})


def test_redirects_answers_and_delegates_lead_nowhere() -> None:
    elsewhere: list[Json] = [
        {"redirect": {"uri": "/"}},
        {"directResponse": {"status": 200}},
        {"delegate": {"name": "shop"}},
        http(to("other"), mirror={"host": "shop"}),
    ]
    assert not ROUTES.leads_here({"http": elsewhere})
    spec = {"http": [*elsewhere, http(to("shop"))]}
    assert ROUTES.routed(spec, Traffic(TENTH))["http"][:-1] == elsewhere


def test_connections_are_split_too() -> None:
    spec = {kind: [http(to("shop"), match=[{"port": 1}])] for kind in ("tcp", "tls")}
    routed = ROUTES.routed(spec, Traffic(TENTH))
    for kind in ("tcp", "tls"):
        assert weights(routed[kind][0]) == {"shop-blue": 90, "shop-candidate": 10}
    assert ROUTES.split_of(routed) == TENTH
    assert ROUTES.restored(routed, spec) == spec


def test_matched_requests_have_a_route_before_the_users_own() -> None:
    """It has the route's own conditions, each with one more, and all else that the route has."""
    own = http(
        to("shop", 90),
        to("other", 10),
        name="users",
        match=[{"uri": {"prefix": "/a"}, "headers": {"x-a": {"exact": "1"}}}, {"uri": {"prefix": "/b"}}],
        timeout="5s",
    )
    traffic = Traffic(TENTH, matched=CANDIDATE, matches=(TESTER, COOKIE))
    first, matched, drawn = ROUTES.routed({"http": [http(to("other")), own]}, traffic)["http"]
    assert first == http(to("other"))
    tester, cookie = (
        {"x-tester": {"exact": "yes"}},
        {"cookie": {"regex": r"^(.*;\s*)?beta=a\.b\*c(;.*)?$"}},
    )
    assert matched == {
        "name": "davy-matched-1",
        "match": [
            {"uri": {"prefix": "/a"}, "headers": {"x-a": {"exact": "1"}} | tester},
            {"uri": {"prefix": "/a"}, "headers": {"x-a": {"exact": "1"}} | cookie},
            {"uri": {"prefix": "/b"}, "headers": tester},
            {"uri": {"prefix": "/b"}, "headers": cookie},
        ],
        "route": [to("shop-candidate", 90), to("other", 10)],
        "timeout": "5s",
    }
    assert {key: drawn[key] for key in ("name", "match", "timeout")} == {
        key: own[key] for key in ("name", "match", "timeout")
    }


@pytest.mark.parametrize(
    ("header", "meets"),
    [
        ("beta=a.b*c", True),
        ("x=1; beta=a.b*c", True),
        ("x=1;beta=a.b*c; y=2", True),
        ("beta=a-b*c", False),
        ("alphabeta=a.b*c", False),
        ("beta=a.b*cd", False),
        ("x=beta=a.b*c", False),
    ],
)
def test_a_cookie_is_found_among_others_and_not_in_them(header: str, *, meets: bool) -> None:
    routed = ROUTES.routed({"http": [http(to("shop"))]}, Traffic(TENTH, CANDIDATE, (COOKIE,)))
    pattern = routed["http"][0]["match"][0]["headers"]["cookie"]["regex"]
    assert bool(re.fullmatch(pattern, header)) == meets


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({"exact": "yes"}, 1), ({"exact": "no"}, 0), ({}, 1), ({"prefix": "y"}, None), ({"regex": ".*"}, None)],
)
def test_a_header_that_the_route_matches_itself(asked: Json, expected: int | None) -> None:
    """The same value is met already, another one never; both of anything else Istio can't ask for."""
    spec = {"http": [http(to("shop"), match=[{"headers": {"x-tester": asked}}])]}
    traffic = Traffic(TENTH, CANDIDATE, (TESTER,))
    if expected is None:
        with pytest.raises(InputError, match="matches: found 'header X-Tester, with a route that matches"):
            ROUTES.routed(spec, traffic)
        return
    routed = ROUTES.routed(spec, traffic)
    assert len(routed["http"]) == 1 + expected
    assert ROUTES.restored(routed, spec) == spec


def test_a_user_stays_where_the_first_draw_put_them() -> None:
    """By a cookie of this release, which counts while the slot has a share."""
    traffic = Traffic(TENTH, CANDIDATE, (TESTER,), affinity="davy", affinity_key="shop-1")
    *before, drawn = ROUTES.routed({"http": [http(to("shop"))]}, traffic)["http"]
    assert [one["name"] for one in before] == [
        "davy-matched-0",
        "davy-pinned-blue-0",
        "davy-pinned-candidate-0",
    ]
    pattern = before[2]["match"][0]["headers"]["cookie"]["regex"]
    assert re.fullmatch(pattern, "a=b; davy=candidate.shop-1")
    assert weights(before[2]) == {"shop-candidate": 100}
    assert "headers" not in before[2]["route"][0]
    added = [one["headers"]["response"]["add"]["set-cookie"] for one in drawn["route"]]
    assert added == [
        f"davy={slot}.shop-1; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax" for slot in (BLUE, CANDIDATE)
    ]


@pytest.mark.parametrize(("share", "percent"), [(10_000, 100), (1_250, 12.5), (1, 0.01)])
def test_drawn_requests_are_copied(share: int, percent: float) -> None:
    spec = {"http": [http({"destination": {"host": "shop.web", "port": {"number": 80}, "subset": "a"}})]}
    traffic = Traffic(Split.all_to(BLUE), mirror=CANDIDATE, mirror_share=share)
    routed = ROUTES.routed(spec, traffic)
    assert only(routed)["mirror"] == {"host": "shop-candidate.web", "port": {"number": 80}}
    assert only(routed)["mirrorPercentage"] == {"value": percent}
    assert ROUTES.restored(routed, spec) == spec


MIRRORED = Traffic(Split.all_to(BLUE), mirror=CANDIDATE, mirror_share=WHOLE)
PINNED = Traffic(TENTH, affinity="davy", affinity_key="1")
TCP: Json = {"tcp": [http(to("shop"))]}
SET = {"response": {"set": {"Set-Cookie": "a=b"}}}


@pytest.mark.parametrize(
    ("spec", "traffic", "field"),
    [
        (TCP, Traffic(TENTH, CANDIDATE, (TESTER,)), "matches"),
        (TCP, MIRRORED, "mirror"),
        (TCP, PINNED, "affinity"),
        ({"http": [http(to("shop"), mirror={"host": "copy"})]}, MIRRORED, "mirror"),
        ({"http": [http(to("shop"), mirrors=[{"destination": {"host": "copy"}}])]}, MIRRORED, "mirror"),
        ({"http": [http(to("shop"), headers=SET)]}, PINNED, "affinity"),
        ({"http": [http(to("shop", headers=SET))]}, PINNED, "affinity"),
        ({"http": [http(to("shop"), match=[{"headers": {"cookie": {"regex": "a"}}}])]}, PINNED, "affinity"),
        (
            {"http": [http(to("shop", 2**31 - 1), to("other", 2**31 - 19))]},
            Traffic(TENTH),
            "router.virtual_service",
        ),
    ],
)
def test_what_istio_cannot_do_is_refused_by_its_field(spec: Json, traffic: Traffic, field: str) -> None:
    with pytest.raises(InputError) as refused:
        ROUTES.routed(spec, traffic)
    assert refused.value.field == field


def test_routes_that_are_split_differently_are_no_split() -> None:
    spec = {"http": [http(to("shop-blue")), http(to("shop-candidate"))]}
    with pytest.raises(
        ValueError, match=r"blue 100%.* and .*candidate 100%.*, expected all to be split alike"
    ):
        ROUTES.split_of(spec)


def test_a_route_past_the_slots_is_no_split() -> None:
    spec = {"http": [http(to("shop-blue")), http(to("shop"), name="new")]}
    with pytest.raises(ValueError, match=r"found a route \(new\) to shop itself"):
        ROUTES.split_of(spec)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"hosts": ["shop"]}, {"hosts": ["shop.web.svc.cluster.local"]}, ["shop.web.svc.cluster.local"]),
        (
            {"hosts": ["shop"], "gateways": ["mesh", "g"]},
            {"hosts": ["shop", "a.example"]},
            ["shop.web.svc.cluster.local"],
        ),
        ({"hosts": ["shop"], "gateways": ["g"]}, {"hosts": ["shop"], "gateways": ["g"]}, []),
        ({"hosts": ["shop"]}, {"hosts": ["carts"]}, []),
        ({}, {"hosts": ["shop"]}, []),
    ],
)
def test_hosts_of_two_virtual_services_in_sidecars(one: Json, other: Json, expected: list[str]) -> None:
    assert shared_hosts(one, other, "web") == expected
