"""Rules of HTTPRoutes and GRPCRoutes as pure values: split exactly, and nothing else touched."""

from __future__ import annotations

import re

import pytest

from tasks.cluster.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.gateway_rules import GatewayRules
from tasks.routers.service_names import ServiceNames

RULES = GatewayRules(ServiceNames("web", "shop"))
BLUE, CANDIDATE = Slot.BLUE, Slot.CANDIDATE
TENTH = Split({BLUE: 9_000, CANDIDATE: 1_000})
TESTER = Match("header", "X-Tester", "yes")
COOKIE = Match("cookie", "beta", "a.b*c")
MATCHED = Traffic(TENTH, CANDIDATE, (TESTER,))
PINNED = Traffic(TENTH, affinity="davy", affinity_key="1")
MIRRORED = Traffic(Split.all_to(BLUE), mirror=CANDIDATE, mirror_share=WHOLE)
EXACT_TESTER = {"type": "Exact", "name": "X-Tester", "value": "yes"}


def to(name: str, weight: int | None = None, **more: object) -> Json:
    return {"name": name, "port": 80} | ({} if weight is None else {"weight": weight}) | more


def rule(*backends: Json, **more: object) -> Json:
    return {"backendRefs": list(backends)} | more


def at(path: str, *headers: tuple[str, str], **more: object) -> Json:
    found: Json = {"path": {"type": "PathPrefix", "value": path}} | more
    said = [{"name": name, "value": value} for name, value in headers]
    return found | ({"headers": said} if said else {})


def weights(found: Json) -> dict[str, int]:
    return {one["name"]: one["weight"] for one in found["backendRefs"]}


def refused(rules: list[Json], traffic: Traffic) -> InputError:
    with pytest.raises(InputError) as error:
        RULES.routed({"rules": rules}, traffic)
    return error.value


@pytest.mark.parametrize(
    "backend",
    [
        to("shop"),
        to("shop", group="", kind="Service"),
        to("shop", namespace="web"),
        to("shop", group="", weight=5),
    ],
)
def test_the_service_is_known_however_it_is_written(backend: Json) -> None:
    spec = {"rules": [rule(backend)]}
    assert RULES.leads_here(spec)
    routed = RULES.routed(spec, Traffic(TENTH))
    assert routed["rules"] == [
        rule(
            backend | {"name": "shop-blue", "weight": 90}, backend | {"name": "shop-candidate", "weight": 10}
        )
    ]
    assert RULES.restored(routed, spec) == spec


@pytest.mark.parametrize(
    "backend",
    [
        to("shops"),
        to("shop", namespace="other"),
        to("shop", kind="Other", group="example.com"),
        to("shop", 0),
    ],
)
def test_other_backends_are_left_alone(backend: Json) -> None:
    spec = {"rules": [rule(backend)]}
    assert not RULES.leads_here(spec)
    assert RULES.routed(spec, Traffic(TENTH)) == spec


@pytest.mark.parametrize(
    ("backends", "split", "expected"),
    [
        ([to("shop")], {BLUE: 10_000}, [100]),
        ([to("shop"), to("other")], TENTH.shares, [45, 5, 50]),
        ([to("shop", 9), to("other", 1)], TENTH.shares, [81, 9, 10]),
        ([to("other", 2), to("shop", 1)], TENTH.shares, [20, 9, 1]),
        ([to("shop"), to("other", 0)], {BLUE: 9_999, CANDIDATE: 1}, [9_999, 1, 0]),
        ([to("shop", 90), to("other", 10)], {BLUE: 9_999, CANDIDATE: 1}, [89_991, 9, 10_000]),
    ],
)
def test_weights_are_the_smallest_that_are_exact(
    backends: list[Json], split: dict[Slot, int], expected: list[int]
) -> None:
    (routed,) = RULES.routed({"rules": [rule(*backends)]}, Traffic(Split(split)))["rules"]
    assert [one["weight"] for one in routed["backendRefs"]] == expected


def test_matched_requests_have_a_rule_behind_all_others() -> None:
    """It is more specific wherever it stands, and first of equals is who was there first."""
    users = rule(
        to("shop", 9),
        to("other", 1),
        name="users",
        matches=[at("/a", ("x-a", "1")), at("/b")],
        timeouts={"request": "5s"},
    )
    carts = rule(to("carts"), matches=[at("/c")])
    traffic = Traffic(TENTH, CANDIDATE, (TESTER, COOKIE))
    drawn, beside, matched = RULES.routed({"rules": [users, carts]}, traffic)["rules"]
    assert beside == carts
    assert {key: drawn[key] for key in users if key != "backendRefs"} == {
        key: users[key] for key in users if key != "backendRefs"
    }
    cookie = {"type": "RegularExpression", "name": "cookie", "value": r"^(.*;\s*)?beta=a\.b\*c(;.*)?$"}
    own = {"name": "x-a", "value": "1"}
    assert matched == {
        "name": "davy-matched-0",
        "matches": [
            at("/a") | {"headers": [own, EXACT_TESTER]},
            at("/a") | {"headers": [own, cookie]},
            at("/b") | {"headers": [EXACT_TESTER]},
            at("/b") | {"headers": [cookie]},
        ],
        "timeouts": {"request": "5s"},
        "backendRefs": [to("shop-candidate", 90), to("other", 10)],
    }


def test_a_rule_without_matches_takes_everything_that_has_the_header() -> None:
    _, matched = RULES.routed({"rules": [rule(to("shop"))]}, MATCHED)["rules"]
    assert matched["matches"] == [{"headers": [EXACT_TESTER]}]


def test_a_header_that_a_rule_wants_otherwise_never_matches() -> None:
    spec = {"rules": [rule(to("shop"), matches=[at("/", ("x-tester", "no"))])]}
    assert len(RULES.routed(spec, MATCHED)["rules"]) == 1


@pytest.mark.parametrize(
    "header",
    [{"name": "x-tester", "value": "yes"}, {"name": "x-tester", "type": "RegularExpression", "value": "y.*"}],
)
def test_a_header_that_a_rule_matches_itself_is_refused(header: Json) -> None:
    found = refused([rule(to("shop"), matches=[at("/") | {"headers": [header]}])], MATCHED)
    assert found.field == "matches"
    assert "with a rule that matches header x-tester itself" in str(found)


def test_a_user_stays_where_the_first_draw_put_them() -> None:
    """By a cookie of this release, beside what the backend adds to its answers anyway."""
    adding = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"add": [{"name": "x-by", "value": "shop"}], "remove": ["server"]},
    }
    spec = {"rules": [rule(to("shop", filters=[adding])), rule(to("shop"), matches=[at("/b")])]}
    first, second, *pins = RULES.routed(spec, PINNED)["rules"]
    assert [one["name"] for one in pins] == [
        f"davy-pinned-{slot}-{place}" for slot in (BLUE, CANDIDATE) for place in (0, 1)
    ]
    assert weights(pins[2]) == {"shop-candidate": 100}
    assert re.fullmatch(pins[2]["matches"][0]["headers"][0]["value"], "a=b; davy=candidate.1")
    for backends, said in (
        (first["backendRefs"], [{"name": "x-by", "value": "shop"}]),
        (second["backendRefs"], []),
    ):
        for slot, backend in zip((BLUE, CANDIDATE), backends, strict=True):
            value = f"davy={slot}.1; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
            (modifier,) = backend["filters"]
            assert modifier["responseHeaderModifier"]["add"] == [
                *said,
                {"name": "set-cookie", "value": value},
            ]
    assert first["backendRefs"][0]["filters"][0]["responseHeaderModifier"]["remove"] == ["server"]
    assert RULES.restored({"rules": [first, second, *pins]}, spec) == spec


def test_testers_come_before_users_who_stay() -> None:
    traffic = Traffic(TENTH, CANDIDATE, (TESTER,), affinity="davy", affinity_key="1")
    _, *inserted = RULES.routed({"rules": [rule(to("shop"))]}, traffic)["rules"]
    assert [one["name"] for one in inserted] == [
        "davy-matched-0",
        "davy-pinned-blue-0",
        "davy-pinned-candidate-0",
    ]


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (10_000, {}),
        (2_500, {"percent": 25}),
        (1_250, {"fraction": {"numerator": 1_250, "denominator": 10_000}}),
        (1, {"fraction": {"numerator": 1, "denominator": 10_000}}),
    ],
)
def test_drawn_requests_are_copied(share: int, said: Json) -> None:
    own = {"type": "URLRewrite", "urlRewrite": {"hostname": "a.example"}}
    spec = {"rules": [rule(to("shop", kind="Service"), filters=[own])]}
    routed = RULES.routed(spec, Traffic(Split.all_to(BLUE), mirror=CANDIDATE, mirror_share=share))
    backend = {"kind": "Service", "name": "shop-candidate", "port": 80}
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": backend} | said}
    assert routed["rules"][0]["filters"] == [own, mirror]
    assert RULES.restored(routed, spec) == spec


MIRROR = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "copy", "port": 80}}}
REMOVE = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["Set-Cookie"]}}
ADD = {
    "type": "ResponseHeaderModifier",
    "responseHeaderModifier": {"add": [{"name": "Set-Cookie", "value": "a=b"}]},
}


@pytest.mark.parametrize(
    ("rules", "traffic", "field"),
    [
        ([rule(to("shop"), filters=[MIRROR])], MIRRORED, "mirror"),
        ([rule(to("shop", filters=[MIRROR]))], MIRRORED, "mirror"),
        ([rule(to("shop"), filters=[REMOVE])], PINNED, "affinity"),
        ([rule(to("shop", filters=[ADD]))], PINNED, "affinity"),
        ([rule(to("shop"), matches=[at("/", ("cookie", "a=b"))])], PINNED, "affinity"),
        ([rule(to("shop"))] * 9, MATCHED, "matches"),
        ([rule(to("shop"))] * 6, PINNED, "affinity"),
        ([rule(to("shop"), matches=[at(f"/{n}") for n in range(40)])], Traffic(TENTH, CANDIDATE, (TESTER, COOKIE)), "matches"),
        ([rule(to("shop"), matches=[at(f"/{n}") for n in range(50)])], PINNED, "affinity"),
        ([rule(*(to("shop", port=n) for n in range(1, 10)))], Traffic(TENTH), "router.route"),
        ([rule(to("shop", 999_983), to("other", 999_979))], Traffic(TENTH), "router.route"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_its_field(rules: list[Json], traffic: Traffic, field: str) -> None:
    assert refused(rules, traffic).field == field


def test_an_own_answer_with_a_cookie_of_the_rule_does_not_matter() -> None:
    """What a rule adds comes beside Davy's cookie."""
    assert RULES.routed({"rules": [rule(to("shop"), filters=[ADD])]}, PINNED)


@pytest.mark.parametrize(
    ("other", "loses"),
    [
        (at("/", queryParams=[{"name": "old", "value": "1"}]), True),
        (at("/", queryParams=[{"name": "old", "value": "1"}]) | {"method": "GET"}, False),
        (at("/old", queryParams=[{"name": "old", "value": "1"}]), False),
        (at("/", ("x-a", "1")), False),
        (at("/", ("x-a", "1"), queryParams=[{"name": "old", "value": "1"}]), False),
        (at("/", ("x-tester", "no"), ("x-a", "1")), False),
        (at("/"), True),
    ],
)
def test_no_other_rule_loses_requests_to_a_header_more(other: Json, *, loses: bool) -> None:
    """Headers count before query parameters, and a rule that came first of equals would not any more."""
    rules = [rule(to("old"), matches=[other]), rule(to("shop"), matches=[at("/")])]
    if loses:
        found = refused(rules, MATCHED)
        assert found.field == "matches"
        assert "rule 1 (without a name), which would lose requests" in str(found)
    else:
        assert RULES.routed({"rules": rules}, MATCHED)


def test_equal_rules_behind_the_services_own_lose_nothing() -> None:
    rules = [rule(to("shop"), matches=[at("/")]), rule(to("never"), matches=[at("/")])]
    assert RULES.routed({"rules": rules}, MATCHED)


def test_rules_that_are_split_differently_are_no_split() -> None:
    with pytest.raises(ValueError, match="expected all to be split alike"):
        RULES.split_of({"rules": [rule(to("shop-blue")), rule(to("shop-candidate"))]})


def test_a_rule_past_the_slots_is_no_split() -> None:
    with pytest.raises(ValueError, match=r"found a route \(new\) to shop itself"):
        RULES.split_of({"rules": [rule(to("shop-blue")), rule(to("shop"), name="new")]})
