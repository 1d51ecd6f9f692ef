"""What of the users' Service's DestinationRules holds for a slot's Service."""

from __future__ import annotations

import pytest

from tasks.cluster.cluster import Json
from tasks.domain.errors import InputError
from tasks.routers.istio_rules import rule_spec, rules_of
from tasks.routers.service_names import ServiceNames

NAMES = ServiceNames("web", "shop")
POOL = {"connectionPool": {"http": {"maxRetries": 1}}}
TLS = {"tls": {"mode": "ISTIO_MUTUAL"}}
OTHER_POOL = {"connectionPool": {"http": {"maxRetries": 2}}}


def rule(name: str = "shop", host: str = "shop", created: int = 1, **spec: object) -> Json:
    metadata = {"name": name, "creationTimestamp": f"2024-01-01T00:00:0{created}Z"}
    return {"metadata": metadata, "spec": {"host": host} | spec}


def subset(name: str, policy: Json | None = None) -> Json:
    return {"name": name, "labels": {"version": name}} | ({"trafficPolicy": policy} if policy else {})


@pytest.mark.parametrize(
    ("rules", "subsets", "expected"),
    [
        ([], set(), None),
        ([rule()], set(), {"host": "shop-blue"}),
        (
            [rule(trafficPolicy=POOL, exportTo=["."], workloadSelector={"matchLabels": {"a": "b"}})],
            set(),
            {
                "host": "shop-blue",
                "trafficPolicy": POOL,
                "exportTo": ["."],
                "workloadSelector": {"matchLabels": {"a": "b"}},
            },
        ),
        (
            [rule(trafficPolicy=POOL | TLS, subsets=[subset("v1", OTHER_POOL), subset("v2", POOL)])],
            {"v1"},
            {"host": "shop-blue", "trafficPolicy": OTHER_POOL | TLS},
        ),
        (
            [rule(trafficPolicy=POOL, subsets=[subset("v1", OTHER_POOL)])],
            set(),
            {"host": "shop-blue", "trafficPolicy": POOL},
        ),
        ([rule(subsets=[subset("v1")])], {"v1", "unknown"}, {"host": "shop-blue"}),
        (
            [
                rule(trafficPolicy=POOL),
                rule("more", created=2, trafficPolicy=TLS, subsets=[subset("v1", TLS)]),
            ],
            {"v1"},
            {"host": "shop-blue", "trafficPolicy": POOL | TLS},
        ),
    ],
)
def test_a_slots_rule_says_what_the_users_rule_says(
    rules: list[Json], subsets: set[str], expected: Json | None
) -> None:
    assert rule_spec(rules, subsets, "shop-blue") == expected


def test_subsets_with_different_policies_are_refused() -> None:
    rules = [rule(subsets=[subset("v1", POOL), subset("v2")])]
    with pytest.raises(InputError, match=r"router\.virtual_service: .*subsets \(v1, v2\)"):
        rule_spec(rules, {"v1", "v2"}, "shop-blue")


def test_only_rules_for_the_service_count_and_the_oldest_first() -> None:
    rules = [
        rule("young", created=3),
        rule("wide", "*.web.svc.cluster.local"),
        rule("other", "carts"),
        rule("old", "shop.web.svc.cluster.local", created=2),
    ]
    assert [one["metadata"]["name"] for one in rules_of(NAMES, rules)] == ["old", "young"]
