"""Routes that lead to a service by weight, alone or beside others: split between its slots, and put back. Pure.

What a route and a destination look like is for each router to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Sequence
from fractions import Fraction

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.put_back import Borrowed, put_back
from tasks.routers.service_names import ServiceNames
from tasks.routers.weights import one_split, parts_of, whole_weights

MATCHED, PINNED = "davy-matched-", "davy-pinned-"
"""How the names of Davy's own routes begin."""


class SplitRoutes(ABC):
    """The routes of one kind of object, for the service with these names.

    Attributes:
        key: Where a route has its destinations.
        most: The largest weight that may be written.
        field: The key of the service file that names the object.
    """

    key: str
    most: int
    field: str

    def __init__(self, names: ServiceNames) -> None:
        self.names = names

    @abstractmethod
    def weights(self, found: Sequence[Json]) -> list[int]:
        """The weights of a route's destinations."""

    @abstractmethod
    def is_users(self, one: Json) -> bool:
        """Whether a destination is the users' Service."""

    @abstractmethod
    def slot_of(self, one: Json) -> Slot | None:
        """The slot whose Service a destination is."""

    @abstractmethod
    def sent(self, one: Json, slot: Slot, pinned: Traffic | None) -> Json:
        """A destination as the slot's Service; *pinned* says by which cookie a user stays there."""

    @abstractmethod
    def back(self, one: Json) -> Json:
        """A slot's destination as the users' Service, without what Davy has added."""

    @abstractmethod
    def target(self, one: Json) -> Hashable:
        """Where a destination leads, without its weight and all else."""

    @abstractmethod
    def frame(self, route: Json) -> Json:
        """A route without its destinations, and without all else that Davy adds to it."""

    @abstractmethod
    def is_inserted(self, route: Json, beside: Sequence[Json], original: Sequence[Json]) -> bool:
        """Whether a route is one of Davy's own.

        Args:
            beside: The routes that it stands among.
            original: Those of the user's own before, as far as they are known.
        """

    def leads(self, route: Json) -> bool:
        """Whether a route leads to the users' Service, with some weight."""
        found = route.get(self.key) or []
        return any(
            self.is_users(one) and weight for one, weight in zip(found, self.weights(found), strict=True)
        )

    def is_split(self, route: Json) -> bool:
        """Whether a route leads to a slot's Service."""
        return any(self.slot_of(one) for one in route.get(self.key) or [])

    def divided(self, found: Sequence[Json], split: Split, pinned: Traffic | None = None) -> list[Json]:
        """A route's destinations, with the service's part of it split and all other parts as they are.

        Raises:
            InputError: It can't be done exactly; not retried.
        """
        wanted: list[tuple[Json, Fraction]] = []
        for one, part in zip(found, parts_of(self.weights(found)), strict=True):
            if part and self.is_users(one):
                shares = split.shares.items()
                wanted += [(self.sent(one, slot, pinned), part * share / WHOLE) for slot, share in shares]
            else:
                wanted.append((one, part))
        try:
            weights = whole_weights([part for _, part in wanted], self.most)
        except ValueError as error:
            raise InputError(self.field, str(error), "routes whose weights are smaller numbers") from error
        return [one | {"weight": weight} for (one, _), weight in zip(wanted, weights, strict=True)]

    def split_over(self, routes: Collection[Json]) -> Split:
        """The split of borrowed routes.

        Raises:
            ValueError: A route leads past the slots, or routes are split differently; not retried.
        """
        own = [route for route in routes if not self.is_inserted(route, list(routes), ())]
        if past := [name_of(route) for route in own if self.leads(route)]:
            msg = f"found a route ({past[0]}) to {self.names.users} itself, expected all to lead to its slots"
            raise ValueError(msg)
        return one_split(self._by_slot(route[self.key]) for route in own if self.is_split(route))

    def put_back(self, now: Sequence[Json], original: Sequence[Json]) -> list[Json]:
        """*now* with the service's routes as they are in *original*; what else has changed meanwhile stays."""
        how = Borrowed(
            inserted=lambda route: self.is_inserted(route, now, original),
            split=self.is_split,
            frame=self.frame,
            targets=self._targets,
            returned=self._returned,
            collapsed=self._collapsed,
        )
        return put_back(now, original, how)

    def _by_slot(self, found: Sequence[Json]) -> dict[Slot, int]:
        weights: dict[Slot, int] = {}
        for one, weight in zip(found, self.weights(found), strict=True):
            if slot := self.slot_of(one):
                weights[slot] = weights.get(slot, 0) + weight
        return weights

    def _targets(self, route: Json) -> tuple[Hashable, ...]:
        """Where it leads; nothing where it does not lead here."""
        found: Iterable[Json] = route.get(self.key) or []
        if not (self.leads(route) or self.is_split(route)):
            return ()
        return tuple(
            dict.fromkeys(self.target(self.back(one) if self.slot_of(one) else one) for one in found)
        )

    def _returned(self, route: Json, original: Json) -> Json:
        if self.frame(route) == self.frame(original):
            return original
        return self.frame(route) | {self.key: original[self.key]}

    def _collapsed(self, route: Json) -> Json:
        """One destination for all of the slots' that are alike, with their weight."""
        found: list[Json] = []
        for one in route[self.key]:
            back = self.back(one) if self.slot_of(one) else one
            same = [each for each in found if each | {"weight": 0} == back | {"weight": 0}]
            if same and self.slot_of(one):
                same[0]["weight"] += back["weight"]
            else:
                found.append(dict(back))
        if len(found) == 1:
            found[0].pop("weight", None)
            return self.frame(route) | {self.key: found}
        weights = whole_weights(parts_of(self.weights(found)), self.most)
        weighed = [one | {"weight": weight} for one, weight in zip(found, weights, strict=True)]
        return self.frame(route) | {self.key: weighed}


def is_named(route: Json) -> bool:
    """Whether a route has the name of one of Davy's own."""
    return str(route.get("name", "")).startswith((MATCHED, PINNED))


def name_of(route: Json) -> str:
    """How messages name a route."""
    return str(route.get("name") or "without a name")


def refuse_unasked(traffic: Traffic, able: Collection[str], found: str, expected: str) -> None:
    """Make sure that *traffic* asks for nothing that a router can't do.

    Args:
        able: The keys of the service file for what it can do.

    Raises:
        InputError: It does; not retried.
    """
    asked = {
        "matches": bool(traffic.matched and traffic.matches),
        "mirror": bool(traffic.mirror and traffic.mirror_share),
        "affinity": bool(traffic.affinity),
    }
    if fields := [field for field, is_asked in asked.items() if is_asked and field not in able]:
        raise InputError(fields[0], found, expected)
