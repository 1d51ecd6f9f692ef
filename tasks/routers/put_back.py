"""Routes of the user's own as they were before, although others around them may have changed meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from tasks.cluster import Json

Key = Callable[[Json], Hashable]


@dataclass(frozen=True)
class Borrowed:
    """What a router does to a route.

    Attributes:
        inserted: Whether it is one of Davy's own, which goes.
        split: Whether it leads to slots' Services.
        frame: The route without all that Davy changes in it.
        targets: Where it leads, a slot's Service counting as the users' one.
        returned: The first route, but with what Davy changes as it is in the second.
        collapsed: The route with the users' Service in place of the slots'; for one that is not known from before.
    """

    inserted: Callable[[Json], bool]
    split: Callable[[Json], bool]
    frame: Callable[[Json], Json]
    targets: Key
    returned: Callable[[Json, Json], Json]
    collapsed: Callable[[Json], Json]


def put_back(now: Sequence[Json], original: Sequence[Json], how: Borrowed) -> list[Json]:
    """*now* without Davy's routes, and with the user's own as in *original*.

    A route that the user has edited is known by its name, else by where it leads.
    """
    here = [route for route in now if not how.inserted(route)]
    left = [route for route in original if how.targets(route)]
    known: dict[int, Json] = {}
    for same in (_same_frame(how), _same_name, _same_targets(how)):
        for index, route in enumerate(here):
            if index in known or not how.split(route):
                continue
            if (found := next((n for n, one in enumerate(left) if same(route, one)), None)) is not None:
                known[index] = left.pop(found)
    return [_route(route, known.get(index), how) for index, route in enumerate(here)]


def _route(route: Json, original: Json | None, how: Borrowed) -> Json:
    if not how.split(route):
        return route
    return how.collapsed(route) if original is None else how.returned(route, original)


def _same_frame(how: Borrowed) -> Callable[[Json, Json], bool]:
    return lambda route, one: how.frame(route) == how.frame(one)


def _same_name(route: Json, one: Json) -> bool:
    return "name" in route and route["name"] == one.get("name")


def _same_targets(how: Borrowed) -> Callable[[Json, Json], bool]:
    return lambda route, one: how.targets(route) == how.targets(one)
