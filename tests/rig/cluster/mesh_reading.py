"""What Envoy would do with a request, read from its routes without it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.rig.cluster.translate_base import Json


def chosen(
    routes: Iterable[Json], path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET"
) -> Json | None:
    """The first route that takes the request; None for a 404."""
    parts = urlsplit(path)
    known = {":method": method, ":scheme": "http", **{k.lower(): v for k, v in (headers or {}).items()}}
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    cookies = dict(one.strip().partition("=")[::2] for one in known.get("cookie", "").split(";"))
    for route in routes:
        match = route["match"]
        if (
            _path(match, parts.path)
            and all(_named(one, known) for one in match.get("headers", ()))
            and all(_named(one, query) for one in match.get("query_parameters", ()))
            and all(_named(one, cookies) for one in match.get("cookies", ()))
            and ("grpc" not in match or known.get("content-type", "").startswith("application/grpc"))
        ):
            return route
    return None


def split(route: Json | None) -> dict[str, int]:
    """By cluster, its weight; a cluster alone has all."""
    action = (route or {}).get("route", {})
    if "cluster" in action:
        return {action["cluster"]: 100}
    return {one["name"]: one["weight"] for one in action.get("weighted_clusters", {}).get("clusters", ())}


def subsets(route: Json | None) -> dict[str, int]:
    """The same by subset, as Istio names clusters."""
    return {name.split("|")[2]: weight for name, weight in split(route).items()}


def _path(match: Json, path: str) -> bool:
    folded = (lambda text: text) if match.get("case_sensitive", True) else str.lower
    if "path" in match:
        return bool(folded(path) == folded(match["path"]))
    if "prefix" in match:
        return bool(folded(path).startswith(folded(match["prefix"])))
    if "path_separated_prefix" in match:
        prefix = match["path_separated_prefix"]
        return path == prefix or path.startswith(f"{prefix}/")
    return re.fullmatch(match["safe_regex"]["regex"], path) is not None


def _named(wanted: Json, found: Mapping[str, str]) -> bool:
    name = wanted["name"]
    value = found.get(name.lower(), found.get(name))
    if value is None and wanted.get("treat_missing_header_as_empty"):
        value = ""
    fits = value is not None and ("present_match" in wanted or _string(wanted["string_match"], value))
    return fits is not wanted.get("invert_match", False)


def _string(wanted: Mapping[str, Any], value: str) -> bool:
    if "exact" in wanted:
        return bool(value == wanted["exact"])
    if "prefix" in wanted:
        return value.startswith(wanted["prefix"])
    if "contains" in wanted:
        return wanted["contains"] in value
    return re.fullmatch(wanted["safe_regex"]["regex"], value) is not None
