"""Istio's destinations: a host with a subset and a port, what a DestinationRule says of it, and its cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.rig.cluster.translate_base import (
    Entry,
    Json,
    Objects,
    Unsupported,
    Upstream,
    duration,
    host_matches,
    named,
    oldest_first,
    only_known,
)
from tests.rig.cluster.translate_services import DOMAIN, services_in, upstream

_RULE = {"host", "subsets", "trafficPolicy", "exportTo"}
_POLICY = {"loadBalancer", "connectionPool", "outlierDetection", "tls"}
_BALANCERS = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
}
_PLAIN = ("DISABLE", "ISTIO_MUTUAL")
"""Ways of encryption that a request does not notice; there is none here."""


def full_name(host: str, namespace: str) -> str:
    """A short name in its object's namespace; one with a dot, or ``*``, stays as it is."""
    return host if "." in host or host == "*" else f"{host}.{namespace}.{DOMAIN}"


class Destinations:
    """Names clusters for destinations, and keeps those that exist.

    A cluster that does not exist is named all the same: Envoy answers 503 for it, with NC.
    """

    def __init__(self, entry: Entry, objects: Objects) -> None:
        self._entry = entry
        self._rules = objects.get("DestinationRule", ())
        self.services = services_in(objects)
        self.upstreams: dict[str, Upstream] = {}

    def service_of(self, fqdn: str) -> tuple[str, str] | None:
        """Namespace and name of the Service, if that host is one."""
        name, _, rest = fqdn.partition(".")
        namespace, _, domain = rest.partition(".")
        is_one = domain == DOMAIN and self.services.get(namespace, name)
        return (namespace, name) if is_one else None

    def cluster(self, destination: Json, namespace: str, where: str) -> str:
        """The name of its cluster; *namespace* is that of the object which names it.

        Raises:
            Unsupported: It has something that is not translated; not retried.
        """
        only_known(where, destination, {"host", "subset", "port"})
        only_known(f"{where}.port", destination.get("port") or {}, {"number"})
        fqdn = full_name(destination["host"], namespace)
        service = self.service_of(fqdn)
        number = (destination.get("port") or {}).get("number")
        if number is None:
            only = self.services.port(*service, None) if service else None
            number = only["port"] if only else self._entry.service_port
        subset = destination.get("subset", "")
        name = f"outbound|{number}|{subset}|{fqdn}"
        if service and name not in self.upstreams:
            self._add(name, service, number, subset)
        return name

    def _add(self, name: str, service: tuple[str, str], number: int, subset: str) -> None:
        port = self.services.port(*service, number)
        rule = self._rule(f"{service[1]}.{service[0]}.{DOMAIN}", service[0])
        found = rule["subsets"].get(subset) if subset else {}
        if port is None or found is None:
            return
        policy = {**rule["trafficPolicy"], **(found.get("trafficPolicy") or {})}
        endpoints = self.services.endpoints(*service, port, found.get("labels"))
        options = _options(f"DestinationRule for {name}: trafficPolicy", policy)
        self.upstreams[name] = upstream(name, endpoints, port, **options)

    def _rule(self, fqdn: str, namespace: str) -> Json:
        """What the rules for this host say: the user's namespace's before the service's, merged within one."""
        for place in dict.fromkeys((self._entry.namespace, namespace)):
            found: dict[str, list[Json]] = {}
            for one in self._rules:
                host = full_name(one["spec"]["host"], place)
                if one["metadata"].get("namespace", "") == place and host_matches(host, fqdn):
                    found.setdefault(host, []).append(one)
            if found:
                best = max(found, key=lambda host: (not host.startswith("*"), len(host)))
                return _merged(oldest_first(found[best]))
        return _merged([])


def _merged(rules: list[Json]) -> Json:
    """Of several rules for one host the first to name a subset, or to have a policy, wins."""
    subsets: Json = {}
    policy: Json | None = None
    for rule in rules:
        only_known(named(rule), rule["spec"], _RULE)
        for subset in rule["spec"].get("subsets") or ():
            only_known(f"{named(rule)}: subset {subset['name']}", subset, {"name", "labels", "trafficPolicy"})
            subsets.setdefault(subset["name"], subset)
        policy = policy or rule["spec"].get("trafficPolicy")
    return {"subsets": subsets, "trafficPolicy": policy or {}}


def _options(where: str, policy: Json) -> Json:
    """A traffic policy in Envoy's words."""
    only_known(where, policy, _POLICY)
    if (mode := (policy.get("tls") or {}).get("mode", "DISABLE")) not in _PLAIN:
        msg = f"{where}.tls.mode: {mode}, expected {' or '.join(_PLAIN)}"
        raise Unsupported(msg)
    balancer = policy.get("loadBalancer") or {}
    only_known(f"{where}.loadBalancer", balancer, {"simple"})
    simple = balancer.get("simple", "UNSPECIFIED")
    if simple not in _BALANCERS:
        msg = f"{where}.loadBalancer.simple: {simple}, expected one of {', '.join(_BALANCERS)}"
        raise Unsupported(msg)
    options: Json = {"lb_policy": _BALANCERS[simple]}
    if pool := policy.get("connectionPool"):
        options |= _pool(f"{where}.connectionPool", pool)
    if outlier := policy.get("outlierDetection"):
        options |= _outlier(f"{where}.outlierDetection", outlier)
    return options


def _pool(where: str, pool: Json) -> Json:
    tcp: Mapping[str, Any] = pool.get("tcp") or {}
    http: Mapping[str, Any] = pool.get("http") or {}
    only_known(where, pool, {"tcp", "http"})
    only_known(f"{where}.tcp", tcp, {"maxConnections", "connectTimeout"})
    only_known(f"{where}.http", http, {"http1MaxPendingRequests", "http2MaxRequests", "maxRetries"})
    limits = {
        "max_connections": tcp.get("maxConnections"),
        "max_pending_requests": http.get("http1MaxPendingRequests"),
        "max_requests": http.get("http2MaxRequests"),
        "max_retries": http.get("maxRetries"),
    }
    unlimited = 2**32 - 1
    thresholds = {name: unlimited if value is None else value for name, value in limits.items()}
    timeout = duration(f"{where}.tcp.connectTimeout", tcp.get("connectTimeout", "10s"))
    return {"circuit_breakers": {"thresholds": [thresholds]}, "connect_timeout": timeout}


def _outlier(where: str, outlier: Json) -> Json:
    """What Istio makes of it: no judging by success rate, and no panic unless it is asked for."""
    numbers = {
        "consecutive5xxErrors": "consecutive_5xx",
        "consecutiveGatewayErrors": "consecutive_gateway_failure",
        "maxEjectionPercent": "max_ejection_percent",
    }
    times = {"interval": "interval", "baseEjectionTime": "base_ejection_time"}
    only_known(where, outlier, {*numbers, *times, "minHealthPercent"})
    wanted: Json = {theirs: outlier[own] for own, theirs in numbers.items() if own in outlier}
    wanted |= {
        theirs: duration(f"{where}.{own}", outlier[own]) for own, theirs in times.items() if own in outlier
    }
    if "consecutive_gateway_failure" in wanted:
        wanted["enforcing_consecutive_gateway_failure"] = 100
    wanted["enforcing_success_rate"] = 0
    panic = {"value": outlier.get("minHealthPercent", 0)}
    return {"outlier_detection": wanted, "common_lb_config": {"healthy_panic_threshold": panic}}
