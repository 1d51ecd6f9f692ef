"""ingress-nginx: Ingresses of one host, and the canaries beside them.

Held against the controller's own code (`mergeAlternativeBackends`, `route_to_alternative_balancer`):
a canary belongs to the *Service* of the main path that it names, so to all paths which that
Service has; only the first canary of a Service counts, the oldest; and one without endpoints
is as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.rig.cluster.translate_base import (
    Entry,
    Json,
    Objects,
    Routing,
    Unsupported,
    Upstream,
    named,
    only_known,
)
from tests.rig.cluster.translate_services import Services, services_in, upstream

_PREFIX = "nginx.ingress.kubernetes.io/"
_CANARY = {
    "canary",
    "canary-weight",
    "canary-weight-total",
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-by-cookie",
}
_HARMLESS = {
    "ssl-redirect",
    "enable-access-log",
    "proxy-body-size",
    "proxy-buffer-size",
    "proxy-connect-timeout",
    "proxy-read-timeout",
    "proxy-send-timeout",
}
"""They change nothing of what the rig's small and plain requests meet."""
_INHERITED = {"load-balance", "upstream-hash-by", "affinity", "affinity-canary-behavior"}
"""What a canary has of its own; everything else is the main Ingress's."""
_PLAIN = re.compile(r"[-/._~a-zA-Z0-9:]*")
_PATTERN = re.compile(r"[-/._~a-zA-Z0-9:^$\[\](){}*+?|&=\\]*")
"""What the controller takes as a header, its value or a cookie, and as a pattern; others are as good as none."""
_CLASS = "nginx"
_WEIGHT_TOTAL = 100
_RETRIES: Json = {
    "retry_on": "connect-failure,reset-before-request",
    "num_retries": 2,
}
"""proxy_next_upstream's default is ``error timeout`` and three tries; here a request is sent but once."""
_READ_TIMEOUT = "60s"


@dataclass(frozen=True)
class _Backend:
    """A Service's port, by ingress-nginx's name for it."""

    namespace: str
    service: str
    port: int | str

    @property
    def name(self) -> str:
        return f"{self.namespace}-{self.service}-{self.port}"


@dataclass
class _Location:
    """A path of the main Ingress."""

    ingress: Json
    path: str
    kind: str
    backend: _Backend


def translate(entry: Entry, objects: Objects) -> Routing:
    """What ingress-nginx makes of *objects* for the users of ``entry.host``.

    Raises:
        Unsupported: An object has something that is not translated; not retried.
    """
    services = services_in(objects)
    ingresses = _oldest_first(entry, objects)
    mains = [one for one in ingresses if not _is_canary(one)]
    host = _host(entry, mains)
    locations = _locations(entry, host, mains)
    canaries = _canaries(entry, host, [one for one in ingresses if _is_canary(one)], locations)
    upstreams: dict[str, Upstream] = {}
    routes: list[Json] = []
    for location in locations:
        main = _cluster(location, None, services, upstreams)
        canary = canaries.get(location.backend.name)
        beside = _cluster(location, canary[1], services, upstreams) if canary else None
        if canary and beside and upstreams.get(beside, Upstream("")).endpoints:
            routes += _shaped(location, main, beside, _settings(canary[0]))
        else:
            routes.append(_route(location, {"cluster": main}))
    return Routing(tuple(routes), upstreams=upstreams)


def _oldest_first(entry: Entry, objects: Objects) -> list[Json]:
    """Those of the class and namespace; of the same age, the later name first, as the controller has it."""
    of_class = [
        one
        for one in objects.get("Ingress", ())
        if one["metadata"].get("namespace", "") == entry.namespace
        and one["spec"].get("ingressClassName") in (None, entry.gateway or _CLASS)
    ]
    by_name = sorted(of_class, key=lambda one: str(one["metadata"]["name"]), reverse=True)
    return sorted(by_name, key=lambda one: str(one["metadata"].get("creationTimestamp") or ""))


def _settings(ingress: Json) -> dict[str, str]:
    """Its annotations that are ingress-nginx's."""
    found = ingress["metadata"].get("annotations") or {}
    return {key.removeprefix(_PREFIX): value for key, value in found.items() if key.startswith(_PREFIX)}


def _is_canary(ingress: Json) -> bool:
    settings = _settings(ingress)
    is_one = settings.get("canary", "").lower() in ("true", "1", "t")
    where = f"{named(ingress)}: annotation {_PREFIX}"
    if is_one:
        only_known(where, {key: "" for key in settings if key in _INHERITED}, _CANARY)
    else:
        only_known(where, settings, _CANARY | _HARMLESS)
    return is_one


def _host(entry: Entry, mains: list[Json]) -> str | None:
    """Of the hosts that the rules name the one that fits best; None where none does."""
    hosts = {rule.get("host", "") for one in mains for rule in one["spec"].get("rules") or ()}
    _, domain = entry.host.partition(".")[::2]
    return next((host for host in (entry.host, f"*.{domain}", "") if host in hosts), None)


def _paths(entry: Entry, host: str | None, ingress: Json) -> Iterator[_Location]:
    """What an Ingress says of this very host."""
    spec = ingress["spec"]
    only_known(named(ingress), spec, {"ingressClassName", "rules"})
    for rule in spec.get("rules") or ():
        if rule.get("host", "") != host:
            continue
        for path in (rule.get("http") or {}).get("paths") or ():
            service = path["backend"].get("service")
            if service is None:
                msg = f"{named(ingress)}: backend without a service is not translated here"
                raise Unsupported(msg)
            port = service["port"].get("number") or service["port"].get("name", "")
            backend = _Backend(entry.namespace, service["name"], port)
            yield _Location(ingress, path.get("path") or "/", path["pathType"], backend)


def _locations(entry: Entry, host: str | None, mains: list[Json]) -> list[_Location]:
    """Exact paths first, then the longest; of the same ones the oldest."""
    found: dict[tuple[str, str], _Location] = {}
    for one in mains:
        for location in _paths(entry, host, one):
            found.setdefault((location.path, location.kind), location)
    return sorted(found.values(), key=lambda one: (one.kind == "Exact", len(one.path)), reverse=True)


def _canaries(
    entry: Entry, host: str | None, ingresses: list[Json], locations: list[_Location]
) -> dict[str, tuple[Json, _Backend]]:
    """By a main backend's name, the canary beside it: it has a path of the very host, path and type."""
    mains = {location.backend.name for location in locations}
    found: dict[str, tuple[Json, _Backend]] = {}
    for one in ingresses:
        for beside in _paths(entry, host, one):
            for location in locations:
                is_same = (beside.path, beside.kind) == (location.path, location.kind)
                if is_same and beside.backend.name not in mains:
                    found.setdefault(location.backend.name, (one, beside.backend))
    return found


def _cluster(
    location: _Location, canary: _Backend | None, services: Services, upstreams: dict[str, Upstream]
) -> str:
    """The name of a backend's cluster, which says under what its requests are counted."""
    main, backend = location.backend, canary or location.backend
    ingress = location.ingress["metadata"]["name"]
    counted = canary.name if canary else ""
    name = f"ingress|{main.namespace}|{ingress}|{main.service}|{main.port}|{counted}"
    if port := services.port(backend.namespace, backend.service, backend.port):
        endpoints = services.endpoints(backend.namespace, backend.service, port)
        upstreams[name] = upstream(name, endpoints, port, lb_policy="ROUND_ROBIN", connect_timeout="5s")
    return name


def _shaped(location: _Location, main: str, beside: str, settings: dict[str, str]) -> list[Json]:
    """By header, then by cookie, then by weight."""
    routes = [
        _route(location, {"cluster": beside if to_canary else main}, **match)
        for match, to_canary in [*_by_header(settings), *_by_cookie(settings)]
    ]
    total = max(_number(settings, "canary-weight-total", _WEIGHT_TOTAL), _WEIGHT_TOTAL)
    weight = min(max(_number(settings, "canary-weight", 0), 0), total)
    split = [
        {"name": name, "weight": part} for name, part in ((main, total - weight), (beside, weight)) if part
    ]
    return [*routes, _route(location, {"weighted_clusters": {"clusters": split}})]


def _by_header(settings: dict[str, str]) -> list[tuple[Json, bool]]:
    """A value or an expression takes the place of ``always`` and ``never``."""
    name = _word(settings, "canary-by-header")
    if not name:
        return []
    if value := _word(settings, "canary-by-header-value"):
        return [({"headers": [{"name": name, "string_match": {"exact": value}}]}, True)]
    pattern = settings.get("canary-by-header-pattern", "")
    if pattern and _PATTERN.fullmatch(pattern):
        anywhere = {"safe_regex": {"regex": f".*(?:{pattern}).*"}}
        return [({"headers": [{"name": name, "string_match": anywhere}]}, True)]
    return [
        ({"headers": [{"name": name, "string_match": {"exact": word}}]}, word == "always")
        for word in ("always", "never")
    ]


def _by_cookie(settings: dict[str, str]) -> list[tuple[Json, bool]]:
    name = _word(settings, "canary-by-cookie")
    words = ("always", "never") if name else ()
    return [
        ({"cookies": [{"name": name, "string_match": {"exact": word}}]}, word == "always") for word in words
    ]


def _route(location: _Location, target: Json, **match: Json) -> Json:
    path = location.path.rstrip("/") or "/"
    if location.kind == "Exact":
        where: Json = {"path": location.path}
    elif location.kind == "Prefix" and path != "/":
        where = {"path_separated_prefix": path}
    else:
        where = {"prefix": location.path}
    action = {**target, "timeout": _READ_TIMEOUT, "retry_policy": _RETRIES}
    return {"name": location.ingress["metadata"]["name"], "match": {**where, **match}, "route": action}


def _word(settings: dict[str, str], name: str) -> str:
    word = settings.get(name, "")
    return word if _PLAIN.fullmatch(word.replace(" ", "")) else ""


def _number(settings: dict[str, str], name: str, otherwise: int) -> int:
    """What is no number is as good as not there, as with the controller."""
    text = settings.get(name, "")
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else otherwise
