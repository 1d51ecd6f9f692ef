"""What Envoy is to have, as documents: listeners, routes, clusters and their endpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.rig.cluster.translate_base import TYPE, Entry, Json, Routing, Upstream

_CLUSTER = f"{TYPE}config.cluster.v3.Cluster"
_LISTENER = f"{TYPE}config.listener.v3.Listener"
_HTTP = f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{TYPE}extensions.filters.http.router.v3.Router"
_INSPECTOR = f"{TYPE}extensions.filters.listener.tls_inspector.v3.TlsInspector"
_FILE_LOG = f"{TYPE}extensions.access_loggers.file.v3.FileAccessLog"
_LINE = {
    "at": "%START_TIME(%s.%6f)%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "version": "%RESP(X-VERSION)%",
    "duration": "%DURATION%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "route": "%ROUTE_NAME%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "grpc": "%GRPC_STATUS_NUMBER%",
}
_STATISTICS: Json = {
    "safe_regex": {
        "regex": r".*(version_text|update_rejected|_warming|warming_clusters|membership_\w+|upstream_rq_\w+)"
    }
}
"""Those that are asked for; each cluster has a hundred others."""
MIRROR = "mirror|"
"""Begins the name of a cluster that leads back into Envoy, where a copy is logged like a request."""


@dataclass(frozen=True)
class Config:
    """All of it, by name."""

    listeners: Mapping[str, Json] = field(default_factory=dict)
    routes: Mapping[str, Json] = field(default_factory=dict)
    clusters: Mapping[str, Json] = field(default_factory=dict)
    endpoints: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """Where on this machine it all is.

    Attributes:
        folder: Of the files that Envoy reads.
        log: The access log.
        admin_port: Of Envoy's admin interface.
    """

    folder: Path
    log: Path
    admin_port: int

    def source(self, file: str) -> Json:
        """A file of resources; a rename to its name has Envoy read it again."""
        return {"resource_api_version": "V3", "path_config_source": {"path": str(self.folder / file)}}

    def pipe(self, name: str) -> Json:
        """An address without a port, for what stays inside."""
        short = hashlib.sha256(name.encode()).hexdigest()[:16]
        return {"pipe": {"path": f"@davy-mesh-{self.admin_port}-{short}"}}


def bootstrap(places: Places) -> Json:
    """What Envoy starts with."""
    admin = {"socket_address": {"address": "127.0.0.1", "port_value": places.admin_port}}
    sources = {"lds_config": places.source("lds.json"), "cds_config": places.source("cds.json")}
    return {
        "node": {"id": "mesh", "cluster": "mesh"},
        "admin": {"address": admin},
        "dynamic_resources": sources,
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [_STATISTICS]}}},
    }


def config(places: Places, routings: Mapping[Entry, Routing]) -> Config:
    """What Envoy is to have for all entries."""
    whole = Config({}, {}, {}, {})
    for entry, routing in routings.items():
        part = _part(places, entry, routing)
        for kind in ("listeners", "routes", "clusters", "endpoints"):
            getattr(whole, kind).update(getattr(part, kind))
    return whole


def _part(places: Places, entry: Entry, routing: Routing) -> Config:
    upstreams = routing.upstreams
    clusters = {name: _cluster(places, one) for name, one in upstreams.items()}
    endpoints = {name: _assignment(one) for name, one in upstreams.items()}
    if routing.chains is not None:
        return Config({entry.name: _tcp_listener(places, entry, routing.chains)}, {}, clusters, endpoints)
    listeners = {entry.name: _http_listener(places, entry)}
    mirrored: set[str] = set()
    routes = [_with_mirrors(entry, route, mirrored) for route in routing.routes]
    for name in mirrored & upstreams.keys():
        inside = _mirror_name(entry, name)
        listeners[inside] = _mirror_listener(places, entry, name)
        clusters[inside] = _mirror_cluster(places, inside, upstreams[name])
    return Config(listeners, {entry.name: _route_table(entry.name, routes)}, clusters, endpoints)


def _route_table(name: str, routes: list[Json]) -> Json:
    hosts = [{"name": name, "domains": ["*"], "routes": routes}]
    resource = {"@type": f"{TYPE}config.route.v3.RouteConfiguration", "name": name, "virtual_hosts": hosts}
    return resource | {"validate_clusters": False}


def _http_listener(places: Places, entry: Entry) -> Json:
    rds = {"route_config_name": entry.name, "config_source": places.source(f"rds-{entry.name}.json")}
    filters = [_http_filter(places, entry, "", {"rds": rds})]
    return _listener(entry.name, _address(entry), [{"filters": filters}])


def _tcp_listener(places: Places, entry: Entry, chains: tuple[Json, ...]) -> Json:
    """Connections go where a chain says; without any, they are refused."""
    logged = []
    for chain in chains:
        proxy = chain["filters"][0]["typed_config"] | {"access_log": [_log(places, entry, "")]}
        logged.append({**chain, "filters": [chain["filters"][0] | {"typed_config": proxy}]})
    listener = _listener(entry.name, _address(entry), logged or [{"filters": []}])
    if any("filter_chain_match" in chain for chain in chains):
        inspector = {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": _INSPECTOR}}
        listener["listener_filters"] = [inspector]
    return listener


def _mirror_listener(places: Places, entry: Entry, name: str) -> Json:
    inside = _mirror_name(entry, name)
    only = {"name": "mirror", "match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}
    hosts = [{"name": inside, "domains": ["*"], "routes": [only]}]
    table = {"route_config": {"name": inside, "virtual_hosts": hosts, "validate_clusters": False}}
    return _listener(
        inside, places.pipe(inside), [{"filters": [_http_filter(places, entry, "mirror", table)]}]
    )


def _mirror_cluster(places: Places, inside: str, upstream: Upstream) -> Json:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": places.pipe(inside)}}]}]
    return {
        **upstream.options,
        "@type": _CLUSTER,
        "name": inside,
        "type": "STATIC",
        "load_assignment": {"cluster_name": inside, "endpoints": endpoints},
    }


def _with_mirrors(entry: Entry, route: Json, mirrored: set[str]) -> Json:
    """The route with its copies sent through Envoy once more; whose they are goes to *mirrored*."""
    policies = route.get("route", {}).get("request_mirror_policies")
    if not policies:
        return route
    mirrored.update(one["cluster"] for one in policies)
    inside = [one | {"cluster": _mirror_name(entry, one["cluster"])} for one in policies]
    return route | {"route": route["route"] | {"request_mirror_policies": inside}}


def _mirror_name(entry: Entry, name: str) -> str:
    return f"{MIRROR}{entry.port}|{name}"


def _cluster(places: Places, upstream: Upstream) -> Json:
    return {
        "@type": _CLUSTER,
        "name": upstream.name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": places.source(endpoints_file(upstream.name))},
        **upstream.options,
    }


def endpoints_file(name: str) -> str:
    """Where a cluster's endpoints are; Envoy takes only one resource from such a file."""
    return f"eds-{quote(name, safe='|')}.json"


def _assignment(upstream: Upstream) -> Json:
    addresses = [{"address": host, "port_value": port} for host, port in upstream.endpoints]
    endpoints = [{"endpoint": {"address": {"socket_address": one}}} for one in addresses]
    resource = {"@type": f"{TYPE}config.endpoint.v3.ClusterLoadAssignment", "cluster_name": upstream.name}
    return resource | {"endpoints": [{"lb_endpoints": endpoints}] if endpoints else []}


def _listener(name: str, address: Json, chains: list[Json]) -> Json:
    return {"@type": _LISTENER, "name": name, "address": address, "filter_chains": chains}


def _address(entry: Entry) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": entry.port}}


def _http_filter(places: Places, entry: Entry, kind: str, table: Json) -> Json:
    manager = {
        "@type": _HTTP,
        "stat_prefix": entry.name if not kind else f"{kind}-{entry.port}",
        **table,
        "normalize_path": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
        "access_log": [_log(places, entry, kind)],
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _log(places: Places, entry: Entry, kind: str) -> Json:
    line = {"entry": str(entry.port), "kind": kind, **_LINE}
    config = {"@type": _FILE_LOG, "path": str(places.log), "log_format": {"json_format": line}}
    return {"name": "envoy.access_loggers.file", "typed_config": config}
