"""Which routes are attached to which gateway, and what their controller says of that in their status."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.rig.cluster.translate_base import (
    Entry,
    Json,
    Objects,
    Unsupported,
    host_matches,
    named,
    oldest_first,
    only_known,
)
from tests.rig.cluster.translate_services import Services, services_in

CONTROLLER = "rig.example/mesh"
GROUP = "gateway.networking.k8s.io"
KINDS = ("HTTPRoute", "GRPCRoute")
_ACCEPTED = "Accepted"


@dataclass(frozen=True)
class Attached:
    """A route that has a say in an entry.

    Attributes:
        hostname: The most specific host name by which it has it; empty for any.
    """

    route: Json
    hostname: str


def attached(entry: Entry, objects: Objects) -> list[Attached]:
    """The routes for who comes through *entry*, oldest first."""
    found = []
    for route in oldest_first(one for kind in KINDS for one in objects.get(kind, ())):
        for ref in route["spec"].get("parentRefs") or ():
            if not _is_own(route, ref, [entry]):
                continue
            hostnames = [
                hostname
                for listener in _open_listeners(route, ref, objects)
                if listener["port"] in (None, entry.service_port)
                for hostname in _hostnames(route, listener)
                if not hostname or host_matches(hostname, entry.host)
            ]
            if hostnames:
                found.append(Attached(route, max(hostnames, key=specific)))
                break
    return found


def specific(hostname: str) -> tuple[int, int]:
    """More for a whole name, and for a longer one."""
    return (0 if hostname.startswith("*") else len(hostname)), len(hostname)


def statuses(entries: Collection[Entry], objects: Objects) -> Iterator[tuple[Json, Json]]:
    """Routes whose status does not say what it should, each with the one that does."""
    services = services_in(objects)
    for route in (one for kind in KINDS for one in objects.get(kind, ())):
        old = (route.get("status") or {}).get("parents") or []
        others = [one for one in old if one.get("controllerName") != CONTROLLER]
        own = [
            _parent(route, ref, objects, services)
            for ref in route["spec"].get("parentRefs") or ()
            if _is_own(route, ref, entries) and _exists(route, ref, objects)
        ]
        if own and [_timeless(one) for one in old] != [_timeless(one) for one in (*others, *own)]:
            yield route, {"parents": [*others, *own]}


def backend(services: Services, namespace: str, ref: Json) -> tuple[str, str, Json] | None:
    """Namespace and name of the Service that is meant, with its port; None where that cannot be served."""
    if ref.get("group") or ref.get("kind", "Service") != "Service":
        return None
    place = ref.get("namespace") or namespace
    port = services.port(place, ref["name"], ref.get("port", 0)) if place == namespace else None
    return (place, ref["name"], port) if port else None


def _is_own(route: Json, ref: Json, entries: Collection[Entry]) -> bool:
    """Whether some entry leads to this parent, be it a gateway or, in the mesh, a Service."""
    place = ref.get("namespace") or route["metadata"].get("namespace", "")
    if ref.get("kind", "Gateway") == "Gateway" and ref.get("group", GROUP) == GROUP:
        gateways = [_qualified(entry) for entry in entries if entry.gateway and entry.kind == "gateway"]
        return f"{place}/{ref['name']}" in gateways
    if ref.get("kind") == "Service" and not ref.get("group"):
        return any(
            (entry.namespace, entry.host, entry.gateway) == (place, ref["name"], None)
            for entry in entries
            if entry.kind == "gateway"
        )
    return False


def _exists(route: Json, ref: Json, objects: Objects) -> bool:
    """Whether there is such a parent; of one that there is not, nobody says anything."""
    kind = ref.get("kind", "Gateway")
    place = ref.get("namespace") or route["metadata"].get("namespace", "")
    return any(
        (one["metadata"].get("namespace", ""), one["metadata"]["name"]) == (place, ref["name"])
        for one in objects.get(kind, ())
    )


def _qualified(entry: Entry) -> str:
    gateway = entry.gateway or ""
    return gateway if "/" in gateway else f"{entry.namespace}/{gateway}"


def _listeners(route: Json, ref: Json, objects: Objects) -> list[tuple[Json, Json]]:
    """Those of the parent that are meant, each with its gateway; a Service lets in what it is the parent of."""
    place = ref.get("namespace") or route["metadata"].get("namespace", "")
    if ref.get("kind") == "Service":
        return [({}, {"port": ref.get("port")})]
    return [
        (gateway, listener)
        for gateway in objects.get("Gateway", ())
        if (gateway["metadata"].get("namespace", ""), gateway["metadata"]["name"]) == (place, ref["name"])
        for listener in gateway["spec"].get("listeners") or ()
        if ref.get("sectionName") in (None, listener["name"]) and ref.get("port") in (None, listener["port"])
    ]


def _open_listeners(route: Json, ref: Json, objects: Objects) -> list[Json]:
    """Those that let the route in."""
    found = _listeners(route, ref, objects)
    return [listener for gateway, listener in found if not gateway or _lets_in(gateway, listener, route)]


def _lets_in(gateway: Json, listener: Json, route: Json) -> bool:
    where = f"{named(gateway)}: listener {listener['name']}"
    only_known(where, listener, {"name", "port", "protocol", "hostname", "allowedRoutes"})
    if listener["protocol"] != "HTTP":
        msg = f"{where}.protocol: {listener['protocol']}, expected HTTP"
        raise Unsupported(msg)
    allowed = listener.get("allowedRoutes") or {}
    kinds = [one["kind"] for one in allowed.get("kinds") or ()]
    source = (allowed.get("namespaces") or {}).get("from", "Same")
    if source not in ("Same", "All"):
        msg = f"{where}.allowedRoutes.namespaces.from: {source}, expected Same or All"
        raise Unsupported(msg)
    is_near = gateway["metadata"].get("namespace") == route["metadata"].get("namespace")
    return (source == "All" or is_near) and (not kinds or route["kind"] in kinds)


def _hostnames(route: Json, listener: Json) -> list[str]:
    """The more specific of the route's and the listener's, where they have something in common."""
    if "name" not in listener:  # in the mesh, host names are ignored
        return [""]
    own = route["spec"].get("hostnames") or [""]
    theirs = listener.get("hostname") or ""
    return [
        max((name, theirs), key=specific)
        for name in own
        if not name
        or not theirs
        or name == theirs
        or host_matches(theirs, name)
        or host_matches(name, theirs)
    ]


def _parent(route: Json, ref: Json, objects: Objects, services: Services) -> Json:
    accepted = _acceptance(route, ref, objects)
    missing = _missing(route, services)
    resolved = ("False", missing) if missing else ("True", "ResolvedRefs")
    conditions = [
        _condition(route, ref, kind, *said)
        for kind, said in ((_ACCEPTED, accepted), ("ResolvedRefs", resolved))
    ]
    return {"parentRef": ref, "controllerName": CONTROLLER, "conditions": conditions}


def _acceptance(route: Json, ref: Json, objects: Objects) -> tuple[str, str]:
    if not _listeners(route, ref, objects):
        return "False", "NoMatchingParent"
    listeners = _open_listeners(route, ref, objects)
    if not listeners:
        return "False", "NotAllowedByListeners"
    if not any(_hostnames(route, listener) for listener in listeners):
        return "False", "NoMatchingListenerHostname"
    return "True", _ACCEPTED


def _missing(route: Json, services: Services) -> str | None:
    """Why some backend cannot be had, if one cannot."""
    namespace = route["metadata"].get("namespace", "")
    for rule in route["spec"].get("rules") or ():
        mirrors = [
            one["requestMirror"]["backendRef"] for one in rule.get("filters") or () if "requestMirror" in one
        ]
        for ref in [*(rule.get("backendRefs") or ()), *mirrors]:
            if ref.get("group") or ref.get("kind", "Service") != "Service":
                return "InvalidKind"
            if ref.get("namespace", namespace) != namespace:
                return "RefNotPermitted"
            if backend(services, namespace, ref) is None:
                return "BackendNotFound"
    return None


def _condition(route: Json, ref: Json, kind: str, status: str, reason: str) -> Json:
    """Since when it is so stays what it was, as long as it is so."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    since = (
        old["lastTransitionTime"]
        for parent in (route.get("status") or {}).get("parents") or ()
        if (parent.get("controllerName"), parent.get("parentRef")) == (CONTROLLER, ref)
        for old in parent.get("conditions") or ()
        if (old["type"], old["status"]) == (kind, status)
    )
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": f"{kind}: {status}, {reason}",  # an empty one is null to old API servers
        "observedGeneration": route["metadata"].get("generation", 0),
        "lastTransitionTime": next(since, now),
    }


def _timeless(parent: Json) -> Json:
    return {
        **parent,
        "conditions": [
            {key: value for key, value in one.items() if key != "lastTransitionTime"}
            for one in parent.get("conditions") or ()
        ],
    }
