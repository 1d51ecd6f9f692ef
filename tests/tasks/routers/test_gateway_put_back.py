"""Rules of HTTPRoutes: what was split is put back exactly, on servers that keep names of rules or don't."""

from __future__ import annotations

from copy import deepcopy
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.cluster.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.gateway_rules import GatewayRules
from tasks.routers.service_names import ServiceNames
from tests.tasks.routers.gateway_routes import GRPC, HTTP

RULES = GatewayRules(ServiceNames("web", "shop"))
CANDIDATE = Slot.CANDIDATE
TENTH = Split({Slot.BLUE: 9_000, CANDIDATE: 1_000})
MATCHES = (Match("header", "X-Tester", "yes"), Match("cookie", "beta", "1"))
FULL = Traffic(TENTH, CANDIDATE, MATCHES, affinity="davy", affinity_key="1")
PATHS = ("/", "/a", "/b")


def to(name: str, weight: int | None = None) -> Json:
    return {"name": name, "port": 80} | ({} if weight is None else {"weight": weight})


def at(path: str, *headers: str) -> Json:
    said = [{"name": name, "value": "1"} for name in headers]
    return {"path": {"type": "PathPrefix", "value": path}} | ({"headers": said} if said else {})


def nameless(spec: Json) -> Json:
    """As a server keeps it that knows no names of rules."""
    kept = deepcopy(spec)
    for rule in kept["rules"]:
        rule.pop("name", None)
    return kept


@st.composite
def rules(draw: st.DrawFn) -> Json:
    names = draw(st.lists(st.sampled_from(["shop", "other", "more"]), min_size=1, max_size=3))
    backends = [to(name, draw(st.sampled_from([None, 0, 1, 3, 90]))) for name in names]
    matches = draw(
        st.lists(st.builds(at, st.sampled_from(PATHS), st.sampled_from(["x-a", "x-b"])), max_size=2)
    )
    plain = [at(draw(st.sampled_from(PATHS)))] if draw(st.booleans()) else []
    more: Json = {"timeouts": {"request": "5s"}} if draw(st.booleans()) else {}
    return {"backendRefs": backends, "matches": [*matches, *plain] or [at("/")]} | more


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


SPECS = st.lists(rules(), min_size=1, max_size=3).map(lambda found: {"hostnames": ["x"], "rules": found})


def share(rule: Json, *names: str) -> Fraction:
    """The part of a rule's requests that goes to backends with *names*."""
    total = sum(one.get("weight", 1) for one in rule["backendRefs"])
    mine = sum(one.get("weight", 1) for one in rule["backendRefs"] if one["name"] in names)
    return Fraction(mine, total) if total else Fraction(0)


def routed(spec: Json, traffic: Traffic) -> Json | None:
    """None where it can't be done."""
    try:
        return RULES.routed(spec, traffic)
    except InputError:
        return None


@settings(deadline=None)
@given(SPECS, traffics())
def test_every_part_is_exact(spec: Json, traffic: Traffic) -> None:
    after = routed(spec, traffic)
    if after is None or not RULES.leads_here(spec):
        return
    assert RULES.split_of(after) == traffic.split
    for before, drawn in zip(spec["rules"], after["rules"], strict=False):
        assert share(drawn, "other", "more") == share(before, "other", "more")
        for slot in Slot:
            part = Fraction(traffic.split[slot], WHOLE)
            assert share(drawn, f"shop-{slot}") == share(before, "shop") * part


@settings(deadline=None)
@given(SPECS, st.lists(traffics(), min_size=1, max_size=3), st.booleans())
def test_what_was_routed_is_put_back_exactly(spec: Json, asked: list[Traffic], names: bool) -> None:  # noqa: FBT001 - given by hypothesis
    before, now = deepcopy(spec), spec
    for traffic in asked:
        after = routed(RULES.restored(now, spec), traffic)
        now = now if after is None else after if names else nameless(after)
    assert RULES.restored(now, spec) == before
    assert spec == before


@pytest.mark.parametrize("spec", [HTTP.spec, GRPC.spec])
def test_the_contracts_routes_come_back_too(spec: Json) -> None:
    pinned = Traffic(TENTH, affinity="davy", affinity_key="1")
    assert RULES.restored(RULES.routed(spec, pinned), spec) == spec


def test_a_rule_that_the_user_edited_is_put_back_with_its_edit() -> None:
    spec = {
        "rules": [
            {"backendRefs": [to("shop", 3), to("a", 1)], "matches": [at("/a")]},
            {"backendRefs": [to("shop")]},
        ]
    }
    now = RULES.routed(spec, FULL)
    now["rules"][0] = now["rules"][0] | {"timeouts": {"request": "1s"}}
    expected = deepcopy(spec)
    expected["rules"][0]["timeouts"] = {"request": "1s"}
    assert RULES.restored(now, spec) == expected


def test_a_rule_that_the_user_copied_leads_to_the_service_again() -> None:
    spec = {"rules": [{"backendRefs": [to("shop", 3), to("a", 1)], "matches": [at("/a")]}]}
    now = RULES.routed(spec, FULL)
    now["rules"].append(now["rules"][0] | {"matches": [at("/c")]})
    weights = [to("shop", 75), to("a", 25)]
    assert RULES.restored(now, spec)["rules"] == [
        *spec["rules"],
        {"backendRefs": weights, "matches": [at("/c")]},
    ]


def test_two_own_rules_of_which_one_has_a_header_more_stay_two() -> None:
    """On a server that drops names, too: the second looks like one of Davy's, and was there before."""
    spec = {
        "rules": [
            {"backendRefs": [to("shop")], "matches": [at("/")]},
            {"backendRefs": [to("shop")], "matches": [at("/", "x-a")]},
        ]
    }
    now = nameless(RULES.routed(spec, Traffic(Split.all_to(Slot.BLUE))))
    assert RULES.restored(now, spec) == spec
