"""A user's HTTPRoute and GRPCRoute: with more in them than the service."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.cluster.cluster import Json
from tasks.cluster.kinds import GRPC_ROUTE, HTTP_ROUTE
from tests.tasks.routers.by_hand import METADATA, Route

VIA = {
    "type": "RequestHeaderModifier",
    "requestHeaderModifier": {"set": [{"name": "x-via", "value": "gateway"}]},
}
BACKENDS = [
    {"name": "shop", "port": 80, "weight": 9, "filters": [VIA]},
    {"name": "partner", "port": 80, "weight": 1},
]


def _edit_gateway(spec: Json) -> None:
    """A rule of the user's own is new, and ours does more with headers."""
    rules = spec["rules"]
    split = next(one for one in reversed(rules) if one.get("name") == "users")
    split["filters"] = [VIA]
    beside = {key: value for key, value in rules[0].items() if key != "name"}
    rules.insert(0, beside | {"backendRefs": [rules[0]["backendRefs"][0] | {"name": "news"}]})


def _reweigh_gateway(spec: Json, weights: Mapping[str, int]) -> None:
    for rule in spec["rules"]:
        for one in rule.get("backendRefs") or []:
            one["weight"] = weights.get(one["name"], one["weight"])


HTTP = Route(
    router={"kind": "gateway_api"},
    kind=HTTP_ROUTE,
    metadata=METADATA,
    spec={
        "parentRefs": [{"name": "public"}],
        "hostnames": ["shop.example.com"],
        "rules": [
            {
                "name": "files",
                "matches": [{"path": {"type": "PathPrefix", "value": "/static"}}],
                "backendRefs": [{"name": "files", "port": 80}],
                "filters": [
                    {
                        "type": "RequestMirror",
                        "requestMirror": {"backendRef": {"name": "files-next", "port": 80}},
                    }
                ],
            },
            {
                "matches": [{"path": {"type": "Exact", "value": "/old"}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}],
            },
            {
                "name": "users",
                "matches": [
                    {"path": {"type": "PathPrefix", "value": "/api"}, "method": "GET"},
                    {
                        "headers": [{"name": "x-a", "value": "1"}],
                        "queryParams": [{"name": "q", "value": "1"}],
                    },
                ],
                "backendRefs": BACKENDS,
                "timeouts": {"request": "5s", "backendRequest": "2s"},
            },
            {"backendRefs": [{"name": "shop", "port": 80}]},
        ],
    },
    edit=_edit_gateway,
    reweigh=_reweigh_gateway,
)

GRPC = Route(
    router={"kind": "gateway_api"},
    kind=GRPC_ROUTE,
    metadata=METADATA,
    spec={
        "parentRefs": [{"name": "public"}],
        "hostnames": ["shop.example.com"],
        "rules": [
            {
                "name": "carts",
                "matches": [{"method": {"service": "carts.Carts"}}],
                "backendRefs": [{"name": "carts", "port": 80}],
            },
            {
                "name": "users",
                "matches": [
                    {"method": {"service": "shop.Shop", "method": "Buy"}},
                    {"method": {"service": "shop.Shop"}, "headers": [{"name": "x-a", "value": "1"}]},
                ],
                "backendRefs": BACKENDS,
            },
            {"backendRefs": [{"name": "shop", "port": 80}]},
        ],
    },
    edit=_edit_gateway,
    reweigh=_reweigh_gateway,
)
