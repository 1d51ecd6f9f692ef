"""The routes of a VirtualService: those that lead to the users' Service, split, and put back. Pure.

A route's destination may be one of several: then only the service's part of it is split. Before a
route stand copies of it for matched requests and for users who were put on a slot before; each has the
route's own conditions and one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE, to_percent
from tasks.routers.cookies import SET_COOKIE, pin_of, pinning
from tasks.routers.istio_matches import both
from tasks.routers.put_back import Borrowed, put_back
from tasks.routers.service_names import ServiceNames
from tasks.routers.weights import one_split, parts_of, whole_weights

PROTOCOLS = ("http", "tcp", "tls")
FIELD = "router.virtual_service"
_MATCHED, _PINNED = "davy-matched-", "davy-pinned-"
"""How the names of Davy's own routes begin."""
_MIRRORS = ("mirror", "mirrors", "mirrorPercent", "mirror_percent", "mirrorPercentage")
_MOST = 2**31 - 1
"""The largest weight."""


@dataclass(frozen=True)
class IstioRoutes:
    """What stands in a VirtualService's ``spec`` of the service with these names."""

    names: ServiceNames

    def leads_here(self, spec: Json) -> bool:
        """Whether a route leads to the users' Service, or to one of a slot."""
        return any(self._leads(route) or self._is_split(route) for _, route in _routes(spec))

    def is_borrowed(self, spec: Json) -> bool:
        """Whether a route leads to a slot's Service."""
        return any(self._is_split(route) for _, route in _routes(spec))

    def subsets(self, spec: Json) -> set[str]:
        """The subsets of the users' Service that routes name."""
        return {
            one["destination"]["subset"]
            for _, route in _routes(spec)
            for one in route.get("route") or []
            if self.names.is_users(one["destination"]["host"]) and one["destination"].get("subset")
        }

    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """The user's own *spec* with the routes that lead to the service split.

        Raises:
            InputError: A route can't do what *traffic* asks for; not retried.
        """
        own_http = [route for route in spec.get("http") or [] if self._leads(route)]
        _refuse_without_http(own_http, traffic)
        found = {kind: [self._drawn(route, traffic, kind) for route in spec[kind]] for kind in _kinds(spec)}
        if own_http:
            found["http"] = [
                each
                for number, (route, drawn) in enumerate(zip(spec["http"], found["http"], strict=True))
                for each in (*self._before(route, traffic, number), drawn)
            ]
        return spec | found

    def restored(self, now: Json, original: Json) -> Json:
        """*now* with the service's routes as they are in *original*; what else has changed meanwhile stays."""
        how = Borrowed(
            inserted=self._is_inserted,
            split=self._is_split,
            frame=self._frame,
            targets=self._targets,
            returned=lambda route, one: self._frame(route) | {"route": one["route"]},
            collapsed=self._collapsed,
        )
        return now | {kind: put_back(now[kind], original.get(kind) or [], how) for kind in _kinds(now)}

    def split_of(self, spec: Json) -> Split:
        """The split of a borrowed *spec*.

        Raises:
            ValueError: A route leads past the slots, or routes are split differently; not retried.
        """
        own = [route for _, route in _routes(spec) if not self._is_inserted(route)]
        if past := [route.get("name") or "without a name" for route in own if self._leads(route)]:
            msg = f"found a route ({past[0]}) to {self.names.users} itself, expected all to lead to its slots"
            raise ValueError(msg)
        return one_split(self._weights(route) for route in own if self._is_split(route))

    # One route.

    def _drawn(self, route: Json, traffic: Traffic, kind: str) -> Json:
        """The route with the service's part of it split."""
        if not self._leads(route):
            return route
        if kind != "http":
            return route | {"route": self._divided(route["route"], traffic.split)}
        pinned = traffic if traffic.affinity else None
        if pinned:
            _refuse_cookies(route)
        there = self._divided(route["route"], traffic.split, pinned)
        return route | {"route": there} | self._mirroring(route, traffic)

    def _before(self, route: Json, traffic: Traffic, number: int) -> Iterator[Json]:
        """Davy's routes before one of the user's: for matched requests, then for users with a cookie."""
        if not self._leads(route):
            return
        if traffic.matched and traffic.matches:
            yield from self._all_to(traffic.matched, route, traffic.matches, f"{_MATCHED}{number}", "matches")
        for slot in traffic.split.shares if traffic.affinity else ():
            name = f"{_PINNED}{slot}-{number}"
            yield from self._all_to(slot, route, (pin_of(traffic, slot),), name, "affinity")

    def _all_to(
        self, slot: Slot, route: Json, conditions: tuple[Match, ...], name: str, field: str
    ) -> Iterator[Json]:
        """The route, for requests that also meet one of *conditions*, whose part then goes to one slot."""
        own = route.get("match") or [{}]
        narrowed = [both(match, one, field) for match in own for one in conditions]
        if met := [match for match in narrowed if match is not None]:
            there = self._divided(route["route"], Split.all_to(slot))
            yield route | {"name": name, "match": met, "route": there}

    def _divided(self, found: list[Json], split: Split, pinned: Traffic | None = None) -> list[Json]:
        """Where a route leads, with the service's part of it split; *pinned* says by which cookie it lasts."""
        wanted: list[tuple[Json, Fraction]] = []
        for one, part in zip(found, parts_of(_weights(found)), strict=True):
            if part and self._is_users(one):
                shares = split.shares.items()
                wanted += [(self._sent(one, slot, pinned), part * share / WHOLE) for slot, share in shares]
            else:
                wanted.append((one, part))
        try:
            weights = whole_weights([part for _, part in wanted], _MOST)
        except ValueError as error:
            raise InputError(FIELD, str(error), "a route whose weights are smaller numbers") from error
        return [one | {"weight": weight} for (one, _), weight in zip(wanted, weights, strict=True)]

    def _sent(self, one: Json, slot: Slot, pinned: Traffic | None) -> Json:
        """A destination as the slot's Service: without a subset, since that Service selects one revision."""
        sent = one | {"destination": self._as(one["destination"], self.names.users, self.names.of(slot))}
        if pinned is None:
            return sent
        headers = one.get("headers") or {}
        response = headers.get("response") or {}
        added = (response.get("add") or {}) | {SET_COOKIE: pinning(pinned, slot)}
        return sent | {"headers": headers | {"response": response | {"add": added}}}

    def _as(self, destination: Json, before: str, after: str) -> Json:
        """*destination* with another name in its host, in the form that the user has chosen."""
        host = after + destination["host"][len(before) :]
        return {key: value for key, value in destination.items() if key != "subset"} | {"host": host}

    def _mirroring(self, route: Json, traffic: Traffic) -> Json:
        if traffic.mirror is None or not traffic.mirror_share:
            return {}
        if any(route.get(key) for key in _MIRRORS):
            name = route.get("name") or "without a name"
            raise InputError("mirror", f"a route ({name}) that mirrors already", "routes that do not")
        first = next(one["destination"] for one in route["route"] if self._is_users(one))
        percent = to_percent(traffic.mirror_share)
        value = int(percent) if percent.is_integer() else percent
        host = self._as(first, self.names.users, self.names.of(traffic.mirror))
        return {"mirror": host, "mirrorPercentage": {"value": value}}

    def _leads(self, route: Json) -> bool:
        """Whether it leads to the users' Service, with some weight."""
        found = route.get("route") or []
        return any(self._is_users(one) and weight for one, weight in zip(found, _weights(found), strict=True))

    def _is_split(self, route: Json) -> bool:
        return any(self._slot(one["destination"]) for one in route.get("route") or [])

    def _is_inserted(self, route: Json) -> bool:
        return str(route.get("name", "")).startswith((_MATCHED, _PINNED)) and self._is_split(route)

    def _is_users(self, one: Json) -> bool:
        return self.names.is_users(one["destination"]["host"])

    def _is_own(self, one: Json) -> bool:
        return self._is_users(one) or self._slot(one["destination"]) is not None

    def _slot(self, destination: Json) -> Slot | None:
        return self.names.slot_of(destination["host"])

    def _weights(self, route: Json) -> dict[Slot, int]:
        found: dict[Slot, int] = {}
        for one, weight in zip(route["route"], _weights(route["route"]), strict=True):
            if slot := self._slot(one["destination"]):
                found[slot] = found.get(slot, 0) + weight
        return found

    # The way back.

    def _frame(self, route: Json) -> Json:
        kept = {key: value for key, value in route.items() if key != "route"}
        if route.get("mirror") and self._slot(route["mirror"]):
            kept = {key: value for key, value in kept.items() if key not in _MIRRORS}
        return kept

    def _targets(self, route: Json) -> tuple[tuple[str, str], ...]:
        """Host and port of each destination; none where the route does not lead here."""
        found = route.get("route") or []
        if not any(self._is_own(one) for one in found):
            return ()
        back = [self._back(one["destination"]) for one in found]
        return tuple(dict.fromkeys((one["host"], str(one.get("port"))) for one in back))

    def _back(self, destination: Json) -> Json:
        slot = self._slot(destination)
        return self._as(destination, self.names.of(slot), self.names.users) if slot else destination

    def _collapsed(self, route: Json) -> Json:
        """One destination for all of the slots' with the same port and headers, with their weight."""
        found: list[Json] = []
        for one in route["route"]:
            back = _without_cookie(one | {"destination": self._back(one["destination"])})
            same = [each for each in found if each | {"weight": 0} == back | {"weight": 0}]
            if same and self._slot(one["destination"]):
                same[0]["weight"] = same[0].get("weight", 0) + back.get("weight", 0)
            else:
                found.append(back)
        if len(found) == 1:
            del found[0]["weight"]
        return self._frame(route) | {"route": found}


def _routes(spec: Json) -> Iterator[tuple[str, Json]]:
    return ((kind, route) for kind in _kinds(spec) for route in spec[kind])


def _kinds(spec: Json) -> list[str]:
    return [kind for kind in PROTOCOLS if spec.get(kind)]


def _weights(found: list[Json]) -> list[int]:
    """A single destination gets everything, whatever it says."""
    return [1] if len(found) == 1 else [int(one.get("weight") or 0) for one in found]


def _refuse_without_http(own_http: list[Json], traffic: Traffic) -> None:
    asked = {
        "matches": bool(traffic.matched and traffic.matches),
        "mirror": bool(traffic.mirror and traffic.mirror_share),
        "affinity": bool(traffic.affinity),
    }
    if not own_http and (fields := [field for field, is_asked in asked.items() if is_asked]):
        raise InputError(fields[0], "only tcp or tls routes to the service", "an http route to it")


def _refuse_cookies(route: Json) -> None:
    """Make sure that nothing takes Davy's cookie out, or replaces it."""
    everywhere = [route, *route["route"]]
    said = [(one.get("headers") or {}).get("response") or {} for one in everywhere]
    touched = [key for one in said for action in ("set", "remove") for key in one.get(action) or ()]
    touched += [key for one in said[1:] for key in one.get("add") or ()]
    if any(key.lower() == SET_COOKIE for key in touched):
        name = route.get("name") or "without a name"
        found = f"a route ({name}) that changes the answers' {SET_COOKIE} header"
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
