"""The routes of a service: from `Traffic` to what Envoy reads, and back to the split. Pure."""

from __future__ import annotations

from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.routers.envoy_config import TYPE, Json, Kind, cluster_name, preview_name, seconds


def routes_of(service: ServiceFile, traffic: Traffic | None) -> dict[str, Json]:
    """Route configurations by name. Without traffic yet, each request is told so with 503."""
    name = service.service
    if traffic is None:
        users, preview = [_nowhere(name)], [_nowhere(name)]
    else:
        users = [*_matched(service, traffic), *_pinned(service, traffic), _drawn(service, traffic)]
        preview = [_sent(service, traffic.preview) if traffic.preview else _nowhere(name)]
    configs = {name: _routes(name, users)}
    if service.envoy.preview_port is not None:
        configs[preview_name(name)] = _routes(preview_name(name), preview)
    return configs


def split_of(config: Json) -> Split | None:
    """The split in a route configuration, as Envoy gives it back; None before the first one."""
    action = config["virtual_hosts"][0]["routes"][-1].get("route")
    if action is None:
        return None
    clusters = action["weighted_clusters"]["clusters"]
    return Split({Slot(part["name"].rpartition("/")[2]): part["weight"] for part in clusters})


def _routes(name: str, routes: list[Json]) -> Json:
    return {
        "@type": TYPE + "config.route.v3.RouteConfiguration",
        "name": name,
        "validate_clusters": True,
        "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
    }


def _nowhere(service: str) -> Json:
    body = {"inline_string": f"{service}: no version here yet\n"}
    return {"match": {"prefix": "/"}, "direct_response": {"status": 503, "body": body}}


def _matched(service: ServiceFile, traffic: Traffic) -> list[Json]:
    if traffic.matched is None:
        return []
    return [_sent(service, traffic.matched, match) for match in traffic.matches]


def _pinned(service: ServiceFile, traffic: Traffic) -> list[Json]:
    """Users with a cookie of this release and of a slot that still has a share."""
    if traffic.affinity is None:
        return []
    pins = {slot: Match("cookie", traffic.affinity, _pin(traffic, slot)) for slot in traffic.split.shares}
    return [_sent(service, slot, pin) for slot, pin in pins.items()]


def _sent(service: ServiceFile, slot: Slot, match: Match | None = None) -> Json:
    where: Json = {"prefix": "/"}
    if match is not None:
        exact = {"name": match.name, "string_match": {"exact": match.value}}
        where["headers" if match.kind == "header" else "cookies"] = [exact]
    return {
        "match": where,
        "route": _action(service) | {"cluster": cluster_name(service.service, slot, Kind.SENT)},
    }


def _drawn(service: ServiceFile, traffic: Traffic) -> Json:
    action = _action(service)
    action["weighted_clusters"] = {
        "clusters": [
            {"name": cluster_name(service.service, slot), "weight": share} | _cookie(traffic, slot)
            for slot, share in traffic.split.shares.items()
        ]
    }
    if traffic.mirror is not None and traffic.mirror_share:
        part = {"default_value": {"numerator": traffic.mirror_share, "denominator": "TEN_THOUSAND"}}
        copies = cluster_name(service.service, traffic.mirror, Kind.MIRROR)
        action["request_mirror_policies"] = [{"cluster": copies, "runtime_fraction": part}]
    return {"match": {"prefix": "/"}, "route": action}


def _pin(traffic: Traffic, slot: Slot) -> str:
    return f"{slot}.{traffic.affinity_key}"


def _cookie(traffic: Traffic, slot: Slot) -> Json:
    """Only drawn requests come here, and they have no valid cookie yet."""
    if traffic.affinity is None:
        return {}
    age = round(traffic.affinity_ttl.total_seconds())
    value = f"{traffic.affinity}={_pin(traffic, slot)}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"
    return {"response_headers_to_add": [{"header": {"key": "set-cookie", "value": value}}]}


def _action(service: ServiceFile) -> Json:
    """Retries are the safe ones: the replica has not seen the request. They avoid that replica."""
    others = TYPE + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "timeout": seconds(service.envoy.timeout),
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": 2,
            "retry_host_predicate": [
                {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": others}}
            ],
            # Least-request prefers a dead replica, which has nothing to do: ask often enough for another.
            "host_selection_retry_max_attempts": 50,
        },
    }
