"""The HTTP routes of a VirtualService."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from tests.rig.cluster.translate_base import (
    TYPE,
    Entry,
    Json,
    Unsupported,
    duration,
    millionths,
    named,
    only_known,
)
from tests.rig.cluster.translate_istio_match import applies, authority_of, header_changes, route_match
from tests.rig.cluster.translate_istio_rule import Destinations

_ROUTE = {
    "name",
    "match",
    "route",
    "rewrite",
    "timeout",
    "retries",
    "mirror",
    "mirrorPercent",
    "mirrorPercentage",
    "mirrors",
    "headers",
}
_RETRIES = {"attempts", "perTryTimeout", "retryOn", "retryIgnorePreviousHosts", "backoff"}
_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
"""Istio's default since it no longer retries a server's own 503 (1.24): no status is listed with it."""
_OTHER_HOSTS = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {"@type": f"{TYPE}extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
}
_STATUSES = {status.value for status in HTTPStatus}
DEFAULT_RETRIES: Json = {
    "num_retries": 2,
    "retry_on": _RETRY_ON,
    "host_selection_retry_max_attempts": "5",
    "retry_host_predicate": [_OTHER_HOSTS],
}


@dataclass(frozen=True)
class _Place:
    """Where in which object one is, and what it may name."""

    where: str
    namespace: str
    destinations: Destinations

    def cluster(self, destination: Json, field: str) -> str:
        return self.destinations.cluster(destination, self.namespace, f"{self.where}.{field}")


def http_routes(service: Json, entry: Entry, destinations: Destinations) -> list[Json]:
    """Envoy's routes, in order; the matches of one route are alternatives, and none means all.

    Raises:
        Unsupported: A route has something that is not translated; not retried.
    """
    found = []
    for number, route in enumerate(service["spec"].get("http") or ()):
        where = f"{named(service)}: http[{number}]"
        only_known(where, route, _ROUTE)
        matches = route.get("match") or [{}]
        for alternative, match in enumerate(matches):
            if applies(match, entry):
                envoys = route_match(f"{where}.match[{alternative}]", match)
                place = _Place(where, service["metadata"].get("namespace", ""), destinations)
                name = f"{service['metadata']['name']}.{route.get('name', '')}".rstrip(".")
                found.append({"name": name, "match": envoys, **_route(place, route)})
    return found


def service_route(cluster: str) -> Json:
    """What a sidecar does with a Service that has no VirtualService."""
    action = {"cluster": cluster, "timeout": "0s", "retry_policy": DEFAULT_RETRIES}
    return {"name": "default", "match": {"prefix": "/"}, "route": action}


def _route(place: _Place, route: Json) -> Json:
    where = place.where
    action: Json = {"timeout": duration(f"{where}.timeout", route.get("timeout", "0s"))}
    if policy := _retry_policy(f"{where}.retries", route.get("retries")):
        action["retry_policy"] = policy
    authority = _rewrite(f"{where}.rewrite", route.get("rewrite"), action)
    if authority := authority or authority_of(route.get("headers")):
        action["host_rewrite_literal"] = authority
    if mirrors := _mirrors(place, route):
        action["request_mirror_policies"] = mirrors
    changes = header_changes(f"{where}.headers", route.get("headers"))
    wanted = route.get("route") or []
    if not wanted:
        msg = f"{where}.route: none, expected a destination (redirects are not translated here)"
        raise Unsupported(msg)
    split = [_destination(place, number, one) for number, one in enumerate(wanted)]
    if len(split) > 1:
        action["weighted_clusters"] = {"clusters": _positive(f"{where}.route", split)}
        return {"route": action, **changes}
    only = split[0]  # alone it gets everything, whatever its weight is
    action["cluster"] = only.pop("name")
    only.pop("weight")
    literal = {"host_rewrite_literal": only.pop("host_rewrite_literal", None)}
    return {"route": (literal if literal["host_rewrite_literal"] else {}) | action, **_joined(changes, only)}


def _destination(place: _Place, number: int, one: Json) -> Json:
    """One of a split's parts, with what is done to the headers of its requests."""
    where = f"{place.where}.route[{number}]"
    only_known(where, one, {"destination", "weight", "headers"})
    authority = authority_of(one.get("headers"))
    return {
        "name": place.cluster(one["destination"], f"route[{number}].destination"),
        "weight": one.get("weight", 0),
        **header_changes(f"{where}.headers", one.get("headers")),
        **({"host_rewrite_literal": authority} if authority else {}),
    }


def _positive(where: str, split: list[Json]) -> list[Json]:
    """Weights need not add up to anything but nothing.

    Raises:
        Unsupported: They do; Istio's admission refuses that. Not retried.
    """
    split = [one for one in split if one["weight"]]
    if not split:
        msg = f"{where}: total destination weight = 0, which Istio refuses"
        raise Unsupported(msg)
    return split


def _joined(own: Json, more: Json) -> Json:
    return {key: [*own.get(key, ()), *more.get(key, ())] for key in {**own, **more}}


def _rewrite(where: str, rewrite: Json | None, action: Json) -> str | None:
    """Add to *action* what becomes of the path; what becomes of the authority is returned."""
    if not rewrite:
        return None
    only_known(where, rewrite, {"uri", "authority", "uriRegexRewrite"})
    if regex := rewrite.get("uriRegexRewrite"):
        action["regex_rewrite"] = {"pattern": {"regex": regex["match"]}, "substitution": regex["rewrite"]}
    elif uri := rewrite.get("uri"):
        action["prefix_rewrite"] = uri
    authority: str | None = rewrite.get("authority")
    return authority


def _mirrors(place: _Place, route: Json) -> list[Json]:
    """Copies of requests: all of them, unless a share is given; none where it is 0."""
    wanted: list[tuple[str, Json, float | None]] = []
    if mirror := route.get("mirror"):
        percent = route.get("mirrorPercent")
        if "mirrorPercentage" in route:
            percent = route["mirrorPercentage"].get("value", 0)
        wanted.append(("mirror", mirror, percent))
    for number, one in enumerate(route.get("mirrors") or ()):
        only_known(f"{place.where}.mirrors[{number}]", one, {"destination", "percentage"})
        percent = one["percentage"].get("value", 0) if "percentage" in one else None
        wanted.append((f"mirrors[{number}].destination", one["destination"], percent))
    return [
        {
            "cluster": place.cluster(destination, field),
            "runtime_fraction": millionths(100 if percent is None else percent),
        }
        for field, destination, percent in wanted
        if percent is None or percent > 0
    ]


def _retry_policy(where: str, retries: Json | None) -> Json | None:
    """Istio's default where there is none; nothing where it says 0 attempts."""
    if retries is None:
        return DEFAULT_RETRIES
    only_known(where, retries, _RETRIES)
    if retries.get("attempts", 0) <= 0:
        return None
    policy = {**DEFAULT_RETRIES, "num_retries": retries["attempts"]}
    if text := retries.get("retryOn"):
        policy |= _retry_on(text)
    if "perTryTimeout" in retries:
        policy["per_try_timeout"] = duration(f"{where}.perTryTimeout", retries["perTryTimeout"])
    if retries.get("retryIgnorePreviousHosts") is False:
        policy["retry_host_predicate"] = []
    if "backoff" in retries:
        policy["retry_back_off"] = {"base_interval": duration(f"{where}.backoff", retries["backoff"])}
    return policy


def _retry_on(text: str) -> Json:
    """Words for Envoy, and numbers that are statuses."""
    words: list[str] = []
    codes: list[str] = []
    for part in (one.strip() for one in text.split(",")):
        is_code = part.isdigit() and int(part) in _STATUSES
        (codes if is_code else words).append(part)
    if not codes:
        return {"retry_on": ",".join(filter(None, words))}
    words += [] if "retriable-status-codes" in words else ["retriable-status-codes"]
    return {"retry_on": ",".join(filter(None, words)), "retriable_status_codes": [int(one) for one in codes]}
