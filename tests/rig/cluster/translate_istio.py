"""Istio: what a sidecar, or an ingress gateway, does for the users of one host.

Held against istiod's own code and published examples; the words are theirs. Which
VirtualService applies: on a gateway all that are bound to it, oldest first, with what
takes everything last; in a sidecar one, of the most specific host, the oldest.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.rig.cluster.translate_base import (
    Entry,
    Json,
    Objects,
    Routing,
    Unsupported,
    host_matches,
    named,
    oldest_first,
    only_known,
)
from tests.rig.cluster.translate_istio_http import http_routes, service_route
from tests.rig.cluster.translate_istio_match import MESH, qualified, through
from tests.rig.cluster.translate_istio_rule import Destinations, full_name
from tests.rig.cluster.translate_istio_tcp import chain, tcp_chains, tls_chains
from tests.rig.cluster.translate_services import protocol

_SPEC = {"hosts", "gateways", "http", "tcp", "tls", "exportTo"}
_SERVER_PROTOCOLS = {"HTTP": "http", "HTTP2": "http", "GRPC": "http", "TCP": "tcp", "TLS": "tls"}


def translate(entry: Entry, objects: Objects) -> Routing:
    """What Istio makes of *objects* for who comes through *entry*.

    Raises:
        Unsupported: An object has something that is not translated, or that Istio refuses; not retried.
    """
    destinations = Destinations(entry, objects)
    services = _bound(entry, objects)
    if entry.gateway is None:
        fqdn = full_name(entry.host, entry.namespace)
        service = destinations.service_of(fqdn)
        port = destinations.services.port(*service, entry.service_port) if service else None
        spoken = protocol(port)
    else:
        spoken = _server_protocol(entry, objects)
    if spoken in ("tcp", "tls"):
        chains = _chains(spoken, services, entry, destinations)
        return Routing(chains=tuple(chains), upstreams=destinations.upstreams)
    return Routing(_routes(services, entry, destinations), upstreams=destinations.upstreams)


def _routes(services: Sequence[Json], entry: Entry, destinations: Destinations) -> tuple[Json, ...]:
    routes = [route for service in services for route in http_routes(service, entry, destinations)]
    if entry.gateway is not None:
        return tuple(sorted(routes, key=_takes_all))
    return tuple(routes or [service_route(_own_cluster(entry, destinations))])


def _chains(spoken: str, services: Sequence[Json], entry: Entry, destinations: Destinations) -> list[Json]:
    make = tcp_chains if spoken == "tcp" else tls_chains
    for service in services:
        if chains := make(service, entry, destinations):
            return chains
    if entry.gateway is not None:
        return []
    return [chain(entry, [{"name": _own_cluster(entry, destinations)}])]


def _own_cluster(entry: Entry, destinations: Destinations) -> str:
    itself = {"host": entry.host, "port": {"number": entry.service_port}}
    return destinations.cluster(itself, entry.namespace, "entry")


def _takes_all(route: Json) -> bool:
    match = route["match"]
    return match.get("prefix") == "/" and not match.get("headers") and not match.get("query_parameters")


def _bound(entry: Entry, objects: Objects) -> list[Json]:
    """The VirtualServices that apply."""
    host = entry.host if entry.gateway else full_name(entry.host, entry.namespace)
    fitting: dict[int, str] = {}
    found = []
    for one in objects.get("VirtualService", ()):
        namespace = one["metadata"].get("namespace", "")
        hosts = [full_name(each, namespace) for each in one["spec"].get("hosts") or ()]
        best = max((each for each in hosts if host_matches(each, host)), key=_specific, default=None)
        if best and _is_bound(one, entry):
            only_known(named(one), one["spec"], _SPEC)
            fitting[id(one)] = best
            found.append(one)
    specific = max(fitting.values(), key=_specific, default="")
    chosen = oldest_first(one for one in found if fitting[id(one)] == specific)
    return chosen if entry.gateway else chosen[:1]


def _is_bound(service: Json, entry: Entry) -> bool:
    """Whether it is for the entry's gateway, and its namespace may see it."""
    spec, namespace = service["spec"], service["metadata"].get("namespace", "")
    to = spec.get("exportTo") or ["*"]
    is_seen = "*" in to or entry.namespace in to or ("." in to and namespace == entry.namespace)
    return is_seen and through(entry, spec.get("gateways") or [MESH], namespace)


def _specific(host: str) -> tuple[bool, int]:
    return not host.startswith("*"), len(host)


def _server_protocol(entry: Entry, objects: Objects) -> str:
    """What the gateway's server speaks.

    Raises:
        Unsupported: There is none, it ends TLS itself, or speaks what is not translated; not retried.
    """
    for one in objects.get("IstioGateway", ()):
        own = f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
        for server in one["spec"].get("servers") or () if own == _gateway(entry) else ():
            hosts = [host.rpartition("/")[2] for host in server["hosts"]]
            if server["port"]["number"] != entry.service_port:
                continue
            if any(host_matches(host, entry.host) for host in hosts):
                spoken = server["port"]["protocol"].upper()
                if spoken not in _SERVER_PROTOCOLS:
                    msg = f"{named(one)}: servers.port.protocol: {spoken}, expected {', '.join(_SERVER_PROTOCOLS)}"
                    raise Unsupported(msg)
                return _SERVER_PROTOCOLS[spoken]
    msg = f"{_gateway(entry)}: no server for {entry.host} at port {entry.service_port}"
    raise Unsupported(msg)


def _gateway(entry: Entry) -> str:
    return qualified(entry.gateway or "", entry.namespace)
