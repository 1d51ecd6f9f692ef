"""Gateway API: what HTTPRoutes and GRPCRoutes of one gateway, or of one Service in the mesh, do."""

from __future__ import annotations

from tests.rig.cluster.translate_base import (
    Entry,
    Json,
    Objects,
    Routing,
    Unsupported,
    Upstream,
    duration,
    named,
    only_known,
)
from tests.rig.cluster.translate_gateway_attach import Attached, attached, backend, specific, statuses
from tests.rig.cluster.translate_gateway_match import (
    grpc_match,
    grpc_precedence,
    header_changes,
    http_match,
    http_precedence,
    mirrors,
)
from tests.rig.cluster.translate_service import CONNECT_RETRIES
from tests.rig.cluster.translate_service import translate as translate_service
from tests.rig.cluster.translate_services import Services, services_in, upstream

__all__ = ["statuses", "translate"]

_SPEC = {"parentRefs", "hostnames", "rules", "useDefaultGateways"}
_RULE = {"name", "matches", "filters", "backendRefs", "timeouts"}
_BACKEND = {"group", "kind", "name", "namespace", "port", "weight", "filters"}
_NOTHING: Json = {}
_Ranked = tuple[tuple[tuple[int, ...], ...], Json]
NOWHERE = "invalid-backend"
"""The cluster of a backend that cannot be had: its share is answered with 500."""


def translate(entry: Entry, objects: Objects) -> Routing:
    """What a gateway makes of *objects* for who comes through *entry*.

    Raises:
        Unsupported: An object has something that is not translated; not retried.
    """
    found = attached(entry, objects)
    if len(kinds := sorted({one.route["kind"] for one in found})) > 1:
        msg = f"{' and '.join(kinds)} for {entry.host}: one host is translated for one kind only"
        raise Unsupported(msg)
    if not found and entry.gateway is None:
        return translate_service(entry, objects)
    backends = _Backends(services_in(objects))
    ranked: list[_Ranked] = []
    for one in found:
        ranked += _rules(one, backends)
    ranked.sort(key=lambda pair: pair[0], reverse=True)  # ties stay as they are: older routes, earlier rules
    return Routing(tuple(route for _, route in ranked), upstreams=backends.upstreams)


class _Backends:
    """Clusters of Services, by what a route calls them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.upstreams: dict[str, Upstream] = {}

    def cluster(self, route: Json, ref: Json) -> str:
        """Its name."""
        found = backend(self._services, route["metadata"].get("namespace", ""), ref)
        if found is None:
            return NOWHERE
        namespace, name, port = found
        cluster = f"gateway|{namespace}|{name}|{port['port']}"
        spoken = port | ({"appProtocol": "grpc"} if route["kind"] == "GRPCRoute" else {})
        endpoints = self._services.endpoints(namespace, name, port)
        self.upstreams.setdefault(cluster, upstream(cluster, endpoints, spoken))
        return cluster


def _rules(one: Attached, backends: _Backends) -> list[_Ranked]:
    """Envoy's routes, each with what decides its place."""
    route = one.route
    only_known(named(route), route["spec"], _SPEC)
    is_http = route["kind"] == "HTTPRoute"
    match_of, precedence = (http_match, http_precedence) if is_http else (grpc_match, grpc_precedence)
    found: list[_Ranked] = []
    for number, rule in enumerate(route["spec"].get("rules") or (_NOTHING,)):
        where = f"{named(route)}: rules[{number}]"
        only_known(where, rule, _RULE)
        action = _action(where, route, rule, backends)
        for match in rule.get("matches") or (_NOTHING,):
            rank = specific(one.hostname), precedence(match)
            name = f"{route['metadata']['name']}.{rule.get('name', number)}"
            found.append((rank, {"name": name, "match": match_of(f"{where}.matches", match), **action}))
    return found


def _action(where: str, route: Json, rule: Json, backends: _Backends) -> Json:
    filters = rule.get("filters") or ()
    changes = header_changes(where, filters)
    backed = [
        _weighted(f"{where}.backendRefs[{number}]", route, ref, backends)
        for number, ref in enumerate(rule.get("backendRefs") or ())
    ]
    split = [one for one in backed if one["weight"]]
    if not split:
        return {"direct_response": {"status": 500}, **changes}
    action: Json = {
        "weighted_clusters": {"clusters": split},
        "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR",
        "retry_policy": CONNECT_RETRIES,
        **_timeouts(f"{where}.timeouts", rule.get("timeouts") or {}),
    }
    copies = [
        {"cluster": backends.cluster(route, ref), "runtime_fraction": share}
        for ref, share in mirrors(filters)
    ]
    if copies:
        action["request_mirror_policies"] = copies
    return {"route": action, **changes}


def _weighted(where: str, route: Json, ref: Json, backends: _Backends) -> Json:
    only_known(where, ref, _BACKEND)
    changes = header_changes(where, ref.get("filters") or ())
    if any(one["type"] == "RequestMirror" for one in ref.get("filters") or ()):
        msg = f"{where}.filters: RequestMirror of one backend is not translated here"
        raise Unsupported(msg)
    return {"name": backends.cluster(route, ref), "weight": ref.get("weight", 1), **changes}


def _timeouts(where: str, timeouts: Json) -> Json:
    """Of the whole request, and of a try; none unless they are set."""
    only_known(where, timeouts, {"request", "backendRequest"})
    whole, each = (timeouts.get(name) for name in ("request", "backendRequest"))
    found: Json = {"timeout": duration(where, whole or each or "0s")}
    if each:
        found["retry_policy"] = {**CONNECT_RETRIES, "per_try_timeout": duration(where, each)}
    return found
