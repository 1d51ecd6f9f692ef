"""The routes of a VirtualService: those that lead to the users' Service, split, and put back. Pure.

A route's destination may be one of several: then only the service's part of it is split. Before a
route stand copies of it for matched requests and for users who were put on a slot before; each has the
route's own conditions and one more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import to_percent
from tasks.routers.cookies import SET_COOKIE, pin_of, pinning
from tasks.routers.istio_matches import both
from tasks.routers.split_routes import MATCHED, PINNED, SplitRoutes, is_named, name_of, refuse_unasked

PROTOCOLS = ("http", "tcp", "tls")
FIELD = "router.virtual_service"
_MIRRORS = ("mirror", "mirrors", "mirrorPercent", "mirror_percent", "mirrorPercentage")


class IstioRoutes(SplitRoutes):
    """What stands in a VirtualService's ``spec``."""

    key = "route"
    most = 2**31 - 1
    field = FIELD

    def leads_here(self, spec: Json) -> bool:
        """Whether a route leads to the users' Service, or to one of a slot."""
        return any(self.leads(route) or self.is_split(route) for _, route in _routes(spec))

    def is_borrowed(self, spec: Json) -> bool:
        """Whether a route leads to a slot's Service."""
        return any(self.is_split(route) for _, route in _routes(spec))

    def subsets(self, spec: Json) -> set[str]:
        """The subsets of the users' Service that routes name."""
        return {
            one["destination"]["subset"]
            for _, route in _routes(spec)
            for one in route.get("route") or []
            if self.is_users(one) and one["destination"].get("subset")
        }

    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """The user's own *spec* with the routes that lead to the service split.

        Raises:
            InputError: A route can't do what *traffic* asks for; not retried.
        """
        if not any(self.leads(route) for route in spec.get("http") or []):
            refuse_unasked(traffic, (), "only tcp or tls routes to the service", "an http route to it")
        found = {kind: [self._drawn(route, traffic, kind) for route in spec[kind]] for kind in _kinds(spec)}
        if "http" in found:
            found["http"] = [
                each
                for number, (route, drawn) in enumerate(zip(spec["http"], found["http"], strict=True))
                for each in (*self._before(route, traffic, number), drawn)
            ]
        return spec | found

    def restored(self, now: Json, original: Json) -> Json:
        """*now* with the service's routes as they are in *original*; what else has changed meanwhile stays."""
        return now | {kind: self.put_back(now[kind], original.get(kind) or []) for kind in _kinds(now)}

    def split_of(self, spec: Json) -> Split:
        """The split of a borrowed *spec*.

        Raises:
            ValueError: A route leads past the slots, or routes are split differently; not retried.
        """
        return self.split_over([route for _, route in _routes(spec)])

    # A route.

    def frame(self, route: Json) -> Json:
        """See `SplitRoutes.frame`."""
        kept = {key: value for key, value in route.items() if key != "route"}
        if route.get("mirror") and self.names.slot_of(route["mirror"]["host"]):
            kept = {key: value for key, value in kept.items() if key not in _MIRRORS}
        return kept

    def is_inserted(self, route: Json, beside: Sequence[Json], original: Sequence[Json]) -> bool:
        """See `SplitRoutes.is_inserted`: its name says it."""
        del beside, original
        return is_named(route) and self.is_split(route)

    def _drawn(self, route: Json, traffic: Traffic, kind: str) -> Json:
        """The route with the service's part of it split."""
        if not self.leads(route):
            return route
        if kind != "http":
            return route | {"route": self.divided(route["route"], traffic.split)}
        pinned = traffic if traffic.affinity else None
        if pinned:
            _refuse_cookies(route)
        there = self.divided(route["route"], traffic.split, pinned)
        return route | {"route": there} | self._mirroring(route, traffic)

    def _before(self, route: Json, traffic: Traffic, number: int) -> Iterator[Json]:
        """Davy's routes before one of the user's: for matched requests, then for users with a cookie."""
        if not self.leads(route):
            return
        if traffic.matched and traffic.matches:
            yield from self._all_to(traffic.matched, route, traffic.matches, f"{MATCHED}{number}", "matches")
        for slot in traffic.split.shares if traffic.affinity else ():
            name = f"{PINNED}{slot}-{number}"
            yield from self._all_to(slot, route, (pin_of(traffic, slot),), name, "affinity")

    def _all_to(
        self, slot: Slot, route: Json, conditions: tuple[Match, ...], name: str, field: str
    ) -> Iterator[Json]:
        """The route, for requests that also meet one of *conditions*, whose part then goes to one slot."""
        own = route.get("match") or [{}]
        narrowed = [both(match, one, field) for match in own for one in conditions]
        if met := [match for match in narrowed if match is not None]:
            there = self.divided(route["route"], Split.all_to(slot))
            yield route | {"name": name, "match": met, "route": there}

    def _mirroring(self, route: Json, traffic: Traffic) -> Json:
        if traffic.mirror is None or not traffic.mirror_share:
            return {}
        if any(route.get(key) for key in _MIRRORS):
            raise InputError(
                "mirror", f"a route ({name_of(route)}) that mirrors already", "routes that do not"
            )
        first = next(one["destination"] for one in route["route"] if self.is_users(one))
        percent = to_percent(traffic.mirror_share)
        value = int(percent) if percent.is_integer() else percent
        host = _as(first, self.names.users, self.names.of(traffic.mirror))
        return {"mirror": host, "mirrorPercentage": {"value": value}}

    # A destination.

    def weights(self, found: Sequence[Json]) -> list[int]:
        """See `SplitRoutes.weights`: a single one gets everything, whatever it says."""
        return [1] if len(found) == 1 else [int(one.get("weight") or 0) for one in found]

    def is_users(self, one: Json) -> bool:
        """See `SplitRoutes.is_users`."""
        return self.names.is_users(one["destination"]["host"])

    def slot_of(self, one: Json) -> Slot | None:
        """See `SplitRoutes.slot_of`."""
        return self.names.slot_of(one["destination"]["host"])

    def target(self, one: Json) -> Hashable:
        """See `SplitRoutes.target`."""
        return one["destination"]["host"], (one["destination"].get("port") or {}).get("number")

    def sent(self, one: Json, slot: Slot, pinned: Traffic | None) -> Json:
        """See `SplitRoutes.sent`: without a subset, since the slot's Service selects one revision."""
        sent = one | {"destination": _as(one["destination"], self.names.users, self.names.of(slot))}
        if pinned is None:
            return sent
        headers = one.get("headers") or {}
        response = headers.get("response") or {}
        added = (response.get("add") or {}) | {SET_COOKIE: pinning(pinned, slot)}
        return sent | {"headers": headers | {"response": response | {"add": added}}}

    def back(self, one: Json) -> Json:
        """See `SplitRoutes.back`."""
        slot = self.slot_of(one)
        if slot is None:
            return one
        before = one | {"destination": _as(one["destination"], self.names.of(slot), self.names.users)}
        return _without_cookie(before)


def _as(destination: Json, before: str, after: str) -> Json:
    """*destination* with another name in its host, in the form that the user has chosen."""
    host = after + destination["host"][len(before) :]
    return {key: value for key, value in destination.items() if key != "subset"} | {"host": host}


def _routes(spec: Json) -> Iterator[tuple[str, Json]]:
    return ((kind, route) for kind in _kinds(spec) for route in spec[kind])


def _kinds(spec: Json) -> list[str]:
    return [kind for kind in PROTOCOLS if spec.get(kind)]


def _refuse_cookies(route: Json) -> None:
    """Make sure that nothing takes Davy's cookie out, or replaces it."""
    everywhere = [route, *route["route"]]
    said = [(one.get("headers") or {}).get("response") or {} for one in everywhere]
    touched = [key for one in said for action in ("set", "remove") for key in one.get(action) or ()]
    touched += [key for one in said[1:] for key in one.get("add") or ()]
    if any(key.lower() == SET_COOKIE for key in touched):
        found = f"a route ({name_of(route)}) that changes the answers' {SET_COOKIE} header"
        raise InputError("affinity", found, "routes that do not")


def _without_cookie(one: Json) -> Json:
    """A slot's destination without what Davy adds to its answers."""
    headers = one.get("headers") or {}
    response = headers.get("response") or {}
    if SET_COOKIE not in (response.get("add") or {}):
        return one
    kept = {key: value for key, value in response["add"].items() if key != SET_COOKIE}
    response = {key: value for key, value in (response | {"add": kept}).items() if value}
    headers = {key: value for key, value in (headers | {"response": response}).items() if value}
    return {key: value for key, value in (one | {"headers": headers}).items() if key != "headers" or value}
