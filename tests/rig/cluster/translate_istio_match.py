"""What requests a VirtualService's route takes, and what it does to their headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.rig.cluster.translate_base import Entry, Json, Unsupported, only_known

MESH = "mesh"
"""The gateway that is none: every sidecar."""

_MATCH = {
    "name",
    "uri",
    "scheme",
    "method",
    "authority",
    "headers",
    "withoutHeaders",
    "queryParams",
    "port",
    "ignoreUriCase",
    "gateways",
    "sourceNamespace",
}
_PSEUDO = {"scheme": ":scheme", "method": ":method", "authority": ":authority"}
_PRESENT = "*"
"""Of a regular expression: any value, if there is one."""


def applies(match: Json, entry: Entry) -> bool:
    """Whether a match can be met at all by who comes through *entry*: its port, gateway and namespace."""
    if match.get("port", entry.service_port) != entry.service_port:
        return False
    if gateways := match.get("gateways"):
        return through(entry, gateways, entry.namespace)
    return bool(match.get("sourceNamespace", entry.namespace) == entry.namespace)


def through(entry: Entry, gateways: list[str], namespace: str) -> bool:
    """Whether *gateways*, named by an object in *namespace*, have the one by which users come."""
    if entry.gateway is None:
        return MESH in gateways
    return qualified(entry.gateway, entry.namespace) in [qualified(one, namespace) for one in gateways]


def qualified(gateway: str, namespace: str) -> str:
    """NAMESPACE/NAME of a gateway."""
    return gateway if "/" in gateway or gateway == MESH else f"{namespace}/{gateway}"


def route_match(where: str, match: Json) -> Json:
    """Envoy's match.

    Raises:
        Unsupported: It has something that is not translated; not retried.
    """
    only_known(where, match, _MATCH)
    headers = [
        *_headers(where, match.get("headers"), invert=False),
        *_headers(where, match.get("withoutHeaders"), invert=True),
    ]
    headers.sort(key=lambda one: str(one["name"]))
    for field, name in _PSEUDO.items():
        if field in match:
            headers.append({"name": name, **_value(f"{where}.{field}", match[field])})
    queries = [
        {"name": name, **_value(f"{where}.queryParams.{name}", value)}
        for name, value in (match.get("queryParams") or {}).items()
    ]
    return {
        **_path(f"{where}.uri", match.get("uri")),
        "case_sensitive": not match.get("ignoreUriCase", False),
        **({"headers": headers} if headers else {}),
        **({"query_parameters": queries} if queries else {}),
    }


def _path(where: str, uri: Json | None) -> Json:
    kind, value = next(iter((uri or {"prefix": "/"}).items()))
    if kind == "exact":
        return {"path": value}
    if kind == "prefix":
        return {"prefix": value}
    if kind == "regex":
        return {"safe_regex": {"regex": value}}
    msg = f"{where}: {kind}, expected exact, prefix or regex"
    raise Unsupported(msg)


def _headers(where: str, found: Mapping[str, Json] | None, *, invert: bool) -> list[Json]:
    matches = []
    for name, wanted in (found or {}).items():
        if name.startswith("@"):
            msg = f"{where}.headers.{name}: claims of tokens are not translated here"
            raise Unsupported(msg)
        one = {"name": name, **_value(f"{where}.headers.{name}", wanted)}
        if invert:
            one["invert_match"] = True
            if "string_match" in one:
                one["treat_missing_header_as_empty"] = True
        matches.append(one)
    return matches


def _value(where: str, wanted: Json) -> Json:
    """A string match; an empty one, or the expression ``*``, is met by any value."""
    only_known(where, wanted, {"exact", "prefix", "regex"})
    if not wanted or wanted.get("regex") == _PRESENT:
        return {"present_match": True}
    kind, value = next(iter(wanted.items()))
    return {"string_match": {"safe_regex": {"regex": value}} if kind == "regex" else {kind: value}}


def header_changes(where: str, headers: Json | None) -> Json:
    """Envoy's words for what is set, added and removed; none of the authority, which is apart.

    Raises:
        Unsupported: It has something that is not translated; not retried.
    """
    only_known(where, headers or {}, {"request", "response"})
    changes: Json = {}
    for side in ("request", "response"):
        wanted: dict[str, Any] = (headers or {}).get(side) or {}
        only_known(f"{where}.{side}", wanted, {"set", "add", "remove"})
        added = [
            {"header": {"key": key, "value": value}, "append_action": action}
            for field, action in (
                ("set", "OVERWRITE_IF_EXISTS_OR_ADD"),
                ("add", "APPEND_IF_EXISTS_OR_ADD"),
            )
            for key, value in sorted((wanted.get(field) or {}).items())
            if not _is_internal(key)
        ]
        if added:
            changes[f"{side}_headers_to_add"] = added
        if removed := [key for key in wanted.get("remove") or () if not _is_internal(key)]:
            changes[f"{side}_headers_to_remove"] = removed
    return changes


def authority_of(headers: Json | None) -> str | None:
    """What a change of headers makes of the authority, if anything."""
    wanted = (headers or {}).get("request") or {}
    for field in ("set", "add"):
        for key, value in (wanted.get(field) or {}).items():
            if key.lower() in (":authority", "host"):
                return str(value)
    return None


def _is_internal(key: str) -> bool:
    return key.startswith(":") or key.lower() == "host"
