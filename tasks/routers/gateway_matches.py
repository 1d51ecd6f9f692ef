"""Matches of the Gateway API: with one more header each, and which of two requests follow. Pure.

A request follows the most specific match of all rules: by path, by method, by the number of its headers and
then of its query parameters; of equal ones the first. So a match with one more header comes before the one
that it was made from, wherever it stands; it must not come before others that came first until then.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match
from tasks.routers.cookies import COOKIE, cookie_pattern

EXACT, REGULAR = "Exact", "RegularExpression"


def both(match: Json, condition: Match, field: str) -> Json | None:
    """*match* with one more condition on a header; None where they exclude each other.

    Raises:
        InputError: It matches that header already; not retried.
    """
    wanted = _header(condition)
    headers = match.get("headers") or []
    for asked in headers:
        if asked["name"].lower() != wanted["name"].lower():
            continue
        if _exact(asked) and _exact(wanted) and asked["value"] != wanted["value"]:
            return None
        found = f"{condition.kind} {condition.name}, with a rule that matches header {asked['name']} itself"
        raise InputError(field, found, "a header that no rule of the service matches")
    return match | {"headers": [*headers, wanted]}


def without_one(match: Json) -> Iterator[Json]:
    """What *match* may have been before it got one more header, which stands last."""
    headers = match.get("headers") or []
    if headers:
        kept = headers[:-1]
        yield {key: value for key, value in match.items() if key != "headers"} | (
            {"headers": kept} if kept else {}
        )


def overtaken(narrowed: Json, made_from: tuple[int, Json], others: Sequence[tuple[int, Json]]) -> int | None:
    """The rule, by its place, whose requests *narrowed* would take away; None where there is none.

    Args:
        made_from: The match that has one header less, with the place of its rule.
        others: Matches of rules that lead elsewhere, with their places.
    """
    place, before = made_from
    for at, other in others:
        if _where(other) != _where(before) or _exclude_each_other(other, narrowed):
            continue
        came_first = (*_rank(other), -at) > (*_rank(before), -place)
        if came_first and _rank(narrowed) > _rank(other):
            return at
    return None


def _header(condition: Match) -> Json:
    if condition.kind == "cookie":
        return {"type": REGULAR, "name": COOKIE, "value": cookie_pattern(condition)}
    return {"type": EXACT, "name": condition.name, "value": condition.value}


def _exact(asked: Mapping[str, str]) -> bool:
    return asked.get("type", EXACT) == EXACT


def _where(match: Json) -> Hashable:
    """Path and method: those come before headers."""
    return repr(match.get("path") or {"type": "PathPrefix", "value": "/"}), repr(match.get("method"))


def _rank(match: Json) -> tuple[int, int]:
    return len(match.get("headers") or ()), len(match.get("queryParams") or ())


def _exclude_each_other(one: Json, other: Json) -> bool:
    """Whether no request can meet both: they want different values of the same thing."""
    return any(
        mine["name"].lower() == theirs["name"].lower()
        and _exact(mine)
        and _exact(theirs)
        and mine["value"] != theirs["value"]
        for key in ("headers", "queryParams")
        for mine in one.get(key) or ()
        for theirs in other.get(key) or ()
    )
