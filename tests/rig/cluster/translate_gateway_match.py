"""What requests a rule of Gateway API takes, in which order rules come, and what filters do."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.rig.cluster.translate_base import Json, Unsupported, millionths, only_known

_EVERYTHING: Json = {"path": {"type": "PathPrefix", "value": "/"}}
_RANKS = {"Exact": 2, "PathPrefix": 1, "RegularExpression": 0}


def http_match(where: str, match: Json) -> Json:
    """Envoy's match of an HTTPRoute's.

    Raises:
        Unsupported: It has something that is not translated; not retried.
    """
    only_known(where, match, {"path", "headers", "queryParams", "method"})
    headers = _values(f"{where}.headers", match.get("headers") or ())
    if method := match.get("method"):
        headers.append({"name": ":method", "string_match": {"exact": method}})
    queries = _values(f"{where}.queryParams", match.get("queryParams") or ())
    return {
        **_path(where, {**_EVERYTHING["path"], **(match.get("path") or {})}),
        **({"headers": headers} if headers else {}),
        **({"query_parameters": queries} if queries else {}),
    }


def http_precedence(match: Json) -> tuple[int, ...]:
    """More is tried earlier: exact paths, longer prefixes, a method, more headers, more parameters."""
    path = {**_EVERYTHING["path"], **(match.get("path") or {})}
    return (
        _RANKS[path["type"]],
        len(path["value"]),
        "method" in match,
        len(match.get("headers") or ()),
        len(match.get("queryParams") or ()),
    )


def grpc_match(where: str, match: Json) -> Json:
    """Envoy's match of a GRPCRoute's.

    Raises:
        Unsupported: It has something that is not translated; not retried.
    """
    only_known(where, match, {"method", "headers"})
    method = match.get("method") or {}
    headers = _values(f"{where}.headers", match.get("headers") or ())
    return {"grpc": {}, **_called(method), **({"headers": headers} if headers else {})}


def grpc_precedence(match: Json) -> tuple[int, ...]:
    """More is tried earlier: longer services, longer methods, more headers."""
    method = match.get("method") or {}
    return len(method.get("service", "")), len(method.get("method", "")), len(match.get("headers") or ())


def _called(method: Json) -> Json:
    service, name = method.get("service", ""), method.get("method", "")
    if method.get("type", "Exact") == "RegularExpression":
        return {"safe_regex": {"regex": f"/{service or '[^/]+'}/{name or '[^/]+'}"}}
    if service and name:
        return {"path": f"/{service}/{name}"}
    if service:
        return {"prefix": f"/{service}/"}
    return {"safe_regex": {"regex": f"/[^/]+/{re.escape(name)}"}} if name else {"prefix": "/"}


def _path(where: str, path: Json) -> Json:
    kind, value = path["type"], path["value"]
    if kind == "Exact":
        return {"path": value}
    if kind == "RegularExpression":
        return {"safe_regex": {"regex": value}}
    if kind == "PathPrefix":
        whole = value.rstrip("/")
        return {"path_separated_prefix": whole} if whole else {"prefix": "/"}
    msg = f"{where}.path.type: {kind}, expected {', '.join(_RANKS)}"
    raise Unsupported(msg)


def _values(where: str, wanted: Iterable[Json]) -> list[Json]:
    """Of several for one name only the first counts."""
    found: dict[str, Json] = {}
    for one in wanted:
        kind = one.get("type", "Exact")
        if kind not in ("Exact", "RegularExpression"):
            msg = f"{where}.type: {kind}, expected Exact or RegularExpression"
            raise Unsupported(msg)
        value = {"exact": one["value"]} if kind == "Exact" else {"safe_regex": {"regex": one["value"]}}
        found.setdefault(one["name"].lower(), {"name": one["name"], "string_match": value})
    return list(found.values())


def header_changes(where: str, filters: Iterable[Json]) -> Json:
    """Envoy's words for what filters do to headers; copies are left to `mirrors`.

    Raises:
        Unsupported: A filter does something else; not retried.
    """
    changes: Json = {}
    for number, one in enumerate(filters):
        kind = one["type"]
        if kind == "RequestMirror":
            continue
        if kind not in ("RequestHeaderModifier", "ResponseHeaderModifier"):
            msg = f"{where}.filters[{number}]: {kind} is not translated here"
            raise Unsupported(msg)
        side = "request" if kind.startswith("Request") else "response"
        wanted = one[f"{side}HeaderModifier"]
        for field, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD")):
            changes.setdefault(f"{side}_headers_to_add", []).extend(
                {"header": {"key": each["name"], "value": each["value"]}, "append_action": action}
                for each in wanted.get(field) or ()
            )
        changes.setdefault(f"{side}_headers_to_remove", []).extend(wanted.get("remove") or ())
    return {key: value for key, value in changes.items() if value}


def mirrors(filters: Iterable[Json]) -> list[tuple[Json, Json]]:
    """Whom copies are sent to, and how many requests have one: all, unless it is said."""
    found = []
    for one in filters:
        if wanted := one.get("requestMirror"):
            only_known("requestMirror", wanted, {"backendRef", "percent", "fraction"})
            percent = float(wanted.get("percent", 100))
            if fraction := wanted.get("fraction"):
                percent = 100 * fraction["numerator"] / fraction.get("denominator", 100)
            if percent > 0:
                found.append((wanted["backendRef"], millionths(percent)))
    return found
