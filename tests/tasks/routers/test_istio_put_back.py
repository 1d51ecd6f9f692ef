"""A VirtualService's routes: what was split is put back exactly, whatever else has changed meanwhile."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.cluster.cluster import Json
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.istio_routes import IstioRoutes
from tasks.routers.service_names import ServiceNames
from tests.tasks.routers.routes import ISTIO

ROUTES = IstioRoutes(ServiceNames("web", "shop"))
CANDIDATE = Slot.CANDIDATE
TENTH = Split({Slot.BLUE: 9_000, CANDIDATE: 1_000})
PINNED = Traffic(TENTH, affinity="davy", affinity_key="1")
MATCHES = (Match("header", "X-Tester", "yes"), Match("cookie", "beta", "1"))


def to(host: str, weight: int | None = None, **more: object) -> Json:
    return {"destination": {"host": host}} | ({} if weight is None else {"weight": weight}) | more


def http(*route: Json, **more: object) -> Json:
    return {"route": list(route)} | more


def edited(spec: Json, index: int, **more: object) -> Json:
    found = deepcopy(spec)
    found["http"][index] |= more
    return found


def test_a_route_that_the_user_edited_is_put_back_with_its_edit() -> None:
    spec = {"http": [http(to("shop", subset="1"), timeout="1s"), http(to("shop"), timeout="2s")]}
    spec["http"][0]["route"][0]["destination"]["subset"] = "v1"
    now = edited(ROUTES.routed(spec, Traffic(TENTH)), 1, timeout="3s")
    assert ROUTES.restored(now, spec) == edited(spec, 1, timeout="3s")


def test_routes_that_the_user_deleted_or_moved_stay_so() -> None:
    spec = {"http": [http(to("shop", 60), to("a", 40), timeout=f"{n}s") for n in (1, 2, 3)]}
    now = ROUTES.routed(spec, Traffic(TENTH))
    now["http"] = [now["http"][2], now["http"][0]]
    assert ROUTES.restored(now, spec)["http"] == [spec["http"][2], spec["http"][0]]


def test_a_route_that_the_user_copied_leads_to_the_service_again() -> None:
    """Where it led before is not known, so the slots' parts are added up."""
    spec = {"http": [http(to("shop", 60), to("a", 40))]}
    now = ROUTES.routed(spec, PINNED)
    now["http"].append(now["http"][-1] | {"timeout": "1s"})
    assert ROUTES.restored(now, spec)["http"] == [*spec["http"], spec["http"][0] | {"timeout": "1s"}]


def test_a_mirror_of_the_users_own_meanwhile_stays() -> None:
    spec = {"http": [http(to("shop"))]}
    now = edited(ROUTES.routed(spec, Traffic(TENTH)), 0, mirror={"host": "copy"})
    assert ROUTES.restored(now, spec) == edited(spec, 0, mirror={"host": "copy"})


# Any VirtualService.

HOSTS = st.sampled_from(["shop", "shop.web", "shop.web.svc.cluster.local", "other", "more.example"])
CONDITIONS = st.fixed_dictionaries(
    {}, optional={"uri": st.just({"prefix": "/a"}), "headers": st.just({"x-a": {"exact": "1"}})}
)


@st.composite
def routes(draw: st.DrawFn) -> Json:
    hosts = draw(st.lists(HOSTS, min_size=1, max_size=3))
    many = len(hosts) > 1
    found = [
        to(host, draw(st.integers(0, 100)) if many else draw(st.sampled_from([None, 7]))) for host in hosts
    ]
    more: Json = {"match": draw(st.lists(CONDITIONS, min_size=1, max_size=2))} if draw(st.booleans()) else {}
    more |= {"timeout": "3s"} if draw(st.booleans()) else {}
    return http(*found, **more)


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=3, max_size=3)))
    edges = [0, *cuts, WHOLE]
    split = Split({slot: high - low for slot, low, high in zip(Slot, edges[:-1], edges[1:], strict=True)})
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        more |= {"matched": CANDIDATE, "matches": MATCHES}
    if draw(st.booleans()):
        more |= {"mirror": CANDIDATE, "mirror_share": draw(st.integers(1, WHOLE))}
    if draw(st.booleans()):
        more |= {"affinity": "davy", "affinity_key": "1"}
    return Traffic(split, **more)


SPECS = st.lists(routes(), min_size=1, max_size=4).map(lambda found: {"hosts": ["x"], "http": found})


def share(route: Json, *hosts: str) -> Fraction:
    """The part of a route's requests that goes to hosts whose first label is one of *hosts*."""
    found = route["route"]
    if len(found) == 1:
        return Fraction(found[0]["destination"]["host"].partition(".")[0] in hosts)
    total = sum(one.get("weight", 0) for one in found)
    mine = sum(one.get("weight", 0) for one in found if one["destination"]["host"].partition(".")[0] in hosts)
    return Fraction(mine, total) if total else Fraction(0)


@settings(deadline=None)
@given(SPECS, traffics())
def test_every_part_is_exact(spec: Json, traffic: Traffic) -> None:
    leads = any(share(route, "shop") for route in spec["http"])
    if not leads:
        return
    routed = ROUTES.routed(spec, traffic)
    drawn = [route for route in routed["http"] if not str(route.get("name", "")).startswith("davy-")]
    assert ROUTES.split_of(routed) == traffic.split
    for before, after in zip(spec["http"], drawn, strict=True):
        assert share(after, "other", "more") == share(before, "other", "more")
        for slot in Slot:
            part = Fraction(traffic.split[slot], WHOLE)
            assert share(after, f"shop-{slot}") == share(before, "shop") * part


@settings(deadline=None)
@given(SPECS, st.lists(traffics(), min_size=1, max_size=3))
def test_what_was_routed_is_put_back_exactly(spec: Json, asked: list[Traffic]) -> None:
    before, now = deepcopy(spec), spec
    if not any(share(route, "shop") for route in spec["http"]):
        return
    for traffic in asked:
        now = ROUTES.routed(ROUTES.restored(now, spec), traffic)
    assert ROUTES.is_borrowed(now)
    assert ROUTES.restored(now, spec) == before
    assert spec == before


def test_the_contracts_virtual_service_comes_back_too() -> None:
    routed = ROUTES.routed(ISTIO.spec, PINNED)
    assert ROUTES.restored(routed, ISTIO.spec) == ISTIO.spec
