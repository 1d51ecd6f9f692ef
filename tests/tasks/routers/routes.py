"""One user's route object for each router that borrows them: with more in it than the service."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.cluster.cluster import Json
from tasks.cluster.kinds import INGRESS, VIRTUAL_SERVICE
from tests.tasks.routers.by_hand import METADATA, Route
from tests.tasks.routers.gateway_routes import GRPC, HTTP


def _edit_istio(spec: Json) -> None:
    """A route of the user's own is new, and ours has another timeout."""
    routes = spec["http"]
    split = next(one for one in reversed(routes) if one.get("name") == "users")
    split["timeout"] = "7s"
    beside = {"match": [{"uri": {"prefix": "/new"}}], "route": [{"destination": {"host": "news"}}]}
    routes.insert(0, beside)


def _reweigh_istio(spec: Json, weights: Mapping[str, int]) -> None:
    for kind in ("http", "tcp"):
        for route in spec[kind]:
            for one in route.get("route") or []:
                one["weight"] = weights.get(
                    one["destination"]["host"].partition(".")[0], one.get("weight", 0)
                )


ISTIO = Route(
    router={"kind": "istio"},
    kind=VIRTUAL_SERVICE,
    metadata=METADATA,
    spec={
        "hosts": ["shop", "shop.example.com"],
        "gateways": ["mesh", "public"],
        "http": [
            {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}},
            {
                "match": [{"uri": {"prefix": "/static"}}],
                "route": [{"destination": {"host": "files", "port": {"number": 80}}}],
                "mirror": {"host": "files-next"},
            },
            {
                "name": "users",
                "match": [{"uri": {"prefix": "/api"}, "method": {"exact": "GET"}}, {"uri": {"prefix": "/"}}],
                "route": [
                    {
                        "destination": {"host": "shop", "port": {"number": 80}, "subset": "v1"},
                        "headers": {"request": {"set": {"x-via": "istio"}}},
                    }
                ],
                "retries": {"attempts": 3, "retryOn": "gateway-error"},
                "timeout": "5s",
                "corsPolicy": {"allowOrigins": [{"exact": "https://example.com"}]},
            },
        ],
        "tcp": [{"match": [{"port": 9000}], "route": [{"destination": {"host": "shop"}}]}],
    },
    edit=_edit_istio,
    reweigh=_reweigh_istio,
)


def _edit_nginx(spec: Json) -> None:
    """A path of the user's own is new, and another certificate."""
    spec["rules"].insert(0, {"host": "new.example.com", "http": {"paths": [_path("/", "news")]}})
    spec["tls"].append({"hosts": ["new.example.com"], "secretName": "new"})


def _path(path: str, service: str) -> Json:
    backend = {"service": {"name": service, "port": {"name": "http"}}}
    return {"path": path, "pathType": "Prefix", "backend": backend}


NGINX = Route(
    router={"kind": "nginx"},
    kind=INGRESS,
    parts={"baseline": False},
    metadata=METADATA,
    spec={
        "ingressClassName": "nginx",
        "defaultBackend": {"service": {"name": "shop", "port": {"number": 80}}},
        "rules": [
            {"host": "shop.example.com", "http": {"paths": [_path("/", "shop"), _path("/files", "files")]}},
            {"http": {"paths": [_path("/api", "shop")]}},
            {"host": "files.example.com", "http": {"paths": [_path("/", "files")]}},
        ],
        "tls": [{"hosts": ["shop.example.com", "files.example.com"], "secretName": "certificate"}],
    },
    edit=_edit_nginx,
    reweigh=None,
)

ROUTES = {"istio": ISTIO, "http_route": HTTP, "grpc_route": GRPC, "nginx": NGINX}
WEIGHED = [name for name, route in ROUTES.items() if route.reweigh]
"""Those whose objects hold all weights themselves."""
