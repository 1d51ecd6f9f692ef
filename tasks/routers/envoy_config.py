"""What Envoy reads, as pure functions of domain values.

Each slot has three clusters: its own, and two that stand before it, so that requests drawn by
weight are counted apart from those that were sent there on purpose and from copies. All of them
exist as long as the service does: a change of clusters would reset their counters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks.domain.model import Address, Slot
from tasks.domain.spec import ServiceFile

Json = dict[str, Any]

_DOMAIN = "type.googleapis.com/"
TYPE = _DOMAIN + "envoy."
_BREAKERS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_HTTP = TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"
_UNLIMITED = 1_000_000
"""Of connections, requests and retries: the proxy itself never turns a user away."""
_UPSTREAM_IDLE = timedelta(seconds=1)
"""Shorter than any usual server's keep-alive, so that no request meets a closing connection."""
_STREAM_IDLE = timedelta(minutes=5)
"""Beyond the service's own timeout: how long an open request may lie still."""
_BUCKETS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750)
_SLOW_BUCKETS = (1000, 2000, 5000, 10_000, 30_000)
"""Bounds of the latency histogram, in milliseconds, from a second on."""
_LOG_FIELDS = {
    "at": "%START_TIME(%s.%3f)%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "version": "%RESP(X-VERSION)%",
    "host": "%REQ(:AUTHORITY)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "upstream": "%UPSTREAM_HOST%",
}
"""An access log line. The path comes without its query, which may hold a user's secret."""


class Kind(StrEnum):
    """Why a request is in a slot: the ending of its cluster's name."""

    DRAWN = ""
    SENT = "/sent"
    MIRROR = "/mirror"


def cluster_name(service: str, slot: Slot, kind: Kind = Kind.DRAWN) -> str:
    """``shop/blue``, ``shop/blue/sent`` or ``shop/blue/mirror``."""
    return f"{service}/{slot}{kind}"


def preview_name(service: str) -> str:
    """The name of the preview's listener and routes; the users' have the service's own."""
    return f"{service}/preview"


def route_file(name: str) -> str:
    """The file with the routes of that name."""
    return "preview.json" if name.endswith("/preview") else "rds.json"


def endpoints_file(slot: Slot) -> str:
    """The file with a slot's endpoints."""
    return f"eds-{slot}.json"


def document(version: str, resources: Collection[Json]) -> Json:
    """A file as Envoy reads it."""
    return {"version_info": version, "resources": list(resources)}


def digest(value: object) -> str:
    """Short name of a JSON value's content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def digest_of(resource: Json) -> str:
    """The digest that `definition` put into a cluster or listener, also as Envoy gives it back."""
    found = resource.get("metadata", {}).get("filter_metadata", {}).get("davy", {})
    return str(found.get("digest", ""))


def bootstrap_config(routes: Path, admin_port: int) -> Json:
    """What Envoy starts with: its admin interface, and where all else is found."""
    histogram = {"match": {"suffix": "upstream_rq_time"}, "buckets": [*_BUCKETS, *_SLOW_BUCKETS]}
    return {
        "node": {"id": "davy", "cluster": "davy"},
        "admin": {"address": _socket(Address("127.0.0.1", admin_port))},
        "dynamic_resources": {
            "cds_config": _file_source(routes / "cds.json"),
            "lds_config": _file_source(routes / "lds.json"),
        },
        "stats_flush_interval": "0.5s",
        "stats_config": {"histogram_bucket_settings": [histogram]},
    }


def definition(service: ServiceFile, folder: Path, logs: Path) -> Json:
    """The service's clusters and listeners, each marked with the digest of its content."""
    ports = {service.service: service.envoy.port}
    if service.envoy.preview_port is not None:
        ports[preview_name(service.service)] = service.envoy.preview_port
    listeners = [_listener(service, name, port, folder, logs) for name, port in ports.items()]
    clusters = [_cluster(service, slot, folder) for slot in Slot]
    clusters += [_alias(service, slot, kind) for slot in Slot for kind in (Kind.SENT, Kind.MIRROR)]
    return {"clusters": _marked(clusters), "listeners": _marked(listeners)}


def port_of(listener: Json) -> int:
    """Where a listener listens."""
    return int(listener["address"]["socket_address"]["port_value"])


def endpoints(
    service: str, slot: Slot, addresses: Sequence[Address], draining: Collection[Address] = ()
) -> Json:
    """Where a slot's replicas are.

    Args:
        draining: Those of them that get no more requests, but end the ones they have.
    """
    hosts: list[Json] = [{"endpoint": {"address": _socket(address)}} for address in addresses]
    for host, address in zip(hosts, addresses, strict=True):
        if address in draining:
            host["health_status"] = "DRAINING"
    return {
        "@type": TYPE + "config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster_name(service, slot),
        "endpoints": [{"lb_endpoints": hosts}],
    }


def addresses_of(assignment: Json) -> tuple[Address, ...]:
    """The addresses that `endpoints` was given."""
    hosts = assignment["endpoints"][0]["lb_endpoints"]
    return tuple(address_of(host["endpoint"]["address"]) for host in hosts)


def address_of(socket: Json) -> Address:
    """An address as Envoy writes it."""
    return Address(socket["socket_address"]["address"], socket["socket_address"]["port_value"])


def _alias(service: ServiceFile, slot: Slot, kind: Kind) -> Json:
    """Counts its requests apart, and gives them to the slot's own cluster.

    Not one with the same file: Envoy takes one of the few inotify instances that a user has
    for each cluster that reads a file, and ends when there is none left.
    """
    own = {
        "@type": TYPE + "extensions.clusters.aggregate.v3.ClusterConfig",
        "clusters": [cluster_name(service.service, slot)],
    }
    return {
        "@type": TYPE + "config.cluster.v3.Cluster",
        "name": cluster_name(service.service, slot, kind),
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": own},
        "circuit_breakers": {"thresholds": [dict.fromkeys(_BREAKERS, _UNLIMITED)]},
    }


def _cluster(service: ServiceFile, slot: Slot, folder: Path) -> Json:
    return {
        "@type": TYPE + "config.cluster.v3.Cluster",
        "name": cluster_name(service.service, slot),
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": cluster_name(service.service, slot),
            "eds_config": _fenced_source(folder, endpoints_file(slot)),
        },
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            # With one healthy replica only healthy ones are used; with none, all are tried.
            "healthy_panic_threshold": {"value": 1},
            # Workers hear of a replica's health when the admin interface does, not a second later.
            "update_merge_window": "0s",
        },
        "ignore_health_on_host_removal": True,
        "health_checks": [_health_check(service)],
        "circuit_breakers": {"thresholds": [dict.fromkeys(_BREAKERS, _UNLIMITED)]},
        "typed_extension_protocol_options": {_HTTP.removeprefix(_DOMAIN): _http_options()},
    }


def _health_check(service: ServiceFile) -> Json:
    health = service.local.health
    return {
        "timeout": seconds(health.timeout),
        "interval": seconds(health.interval),
        "no_traffic_interval": seconds(health.interval),
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        # A kept connection would occupy a server that takes one at a time.
        "reuse_connection": False,
        "http_health_check": {"path": health.path, "expected_statuses": [{"start": 200, "end": 400}]},
    }


def _http_options() -> Json:
    return {
        "@type": _HTTP,
        "common_http_protocol_options": {"idle_timeout": seconds(_UPSTREAM_IDLE)},
        "explicit_http_config": {"http_protocol_options": {}},
    }


def _listener(service: ServiceFile, name: str, port: int, folder: Path, logs: Path) -> Json:
    http = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = TYPE + "extensions.filters.http.router.v3.Router"
    logged = service.envoy.access_log and name == service.service
    connection_manager = {
        "@type": http,
        "stat_prefix": name,
        "rds": {"route_config_name": name, "config_source": _fenced_source(folder, route_file(name))},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        "access_log": [_access_log(logs / f"{name}.access.log")] if logged else [],
        "http_protocol_options": {"accept_http_10": True},
        "stream_idle_timeout": seconds(service.envoy.timeout + _STREAM_IDLE),
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
    }
    return {
        "@type": TYPE + "config.listener.v3.Listener",
        "name": name,
        "address": _socket(Address("127.0.0.1", port)),
        # Shared ports would let a second program take a part of the users unnoticed.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": connection_manager}]}],
    }


def _access_log(path: Path) -> Json:
    log = TYPE + "extensions.access_loggers.file.v3.FileAccessLog"
    config = {"@type": log, "path": str(path), "log_format": {"json_format": _LOG_FIELDS}}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _marked(resources: list[Json]) -> list[Json]:
    return [
        resource | {"metadata": {"filter_metadata": {"davy": {"digest": digest(resource)}}}}
        for resource in resources
    ]


def _socket(address: Address) -> Json:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _file_source(path: Path) -> Json:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _fenced_source(folder: Path, name: str) -> Json:
    """A file of the newest lease, read again whenever something is renamed in the service's folder."""
    source = {"path": str(folder / "current" / name), "watched_directory": {"path": str(folder)}}
    return {"resource_api_version": "V3", "path_config_source": source}


def seconds(duration: timedelta) -> str:
    """A duration as Envoy reads it."""
    return f"{duration.total_seconds():.3f}s"
