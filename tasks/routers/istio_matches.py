"""Which requests a VirtualService, and each of its matches, takes. Pure."""

from __future__ import annotations

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match
from tasks.routers.cookies import COOKIE, cookie_pattern

_MESH = "mesh"
"""The gateway that is none: every sidecar."""


def both(match: Json, condition: Match, field: str) -> Json | None:
    """*match* with one more condition on a header; None where they exclude each other.

    Raises:
        InputError: Istio can't ask for both of one header; not retried.
    """
    cookie = condition.kind == "cookie"
    name = COOKIE if cookie else condition.name.lower()
    wanted = {"regex": cookie_pattern(condition)} if cookie else {"exact": condition.value}
    headers = match.get("headers") or {}
    asked = headers.get(name)
    if asked and asked != wanted:
        if "exact" in asked and "exact" in wanted:
            return None
        found = f"{condition.kind} {condition.name}, with a route that matches header {name} itself"
        raise InputError(field, found, "a header that no route of the service matches")
    return match | {"headers": headers | {name: wanted}}


def shared_hosts(spec: Json, other: Json, namespace: str) -> list[str]:
    """The hosts for which sidecars would have to choose between two VirtualServices of a namespace.

    Gateways take the routes of both.
    """
    if not all(_MESH in (one.get("gateways") or [_MESH]) for one in (spec, other)):
        return []
    hosts, others = ({_full(host, namespace) for host in one.get("hosts") or []} for one in (spec, other))
    return sorted(hosts & others)


def _full(host: str, namespace: str) -> str:
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.cluster.local"
