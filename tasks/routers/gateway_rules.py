"""The rules of an HTTPRoute or GRPCRoute: those that lead to the users' Service, split, and put back. Pure.

A rule's backend may be one of several: then only the service's part of it is split. Behind all rules stand
copies for matched requests and for users who were put on a slot before: a match that has one header
more is more specific, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.cookies import SET_COOKIE, pin_of, pinning
from tasks.routers.gateway_matches import both, overtaken, without_one
from tasks.routers.split_routes import MATCHED, PINNED, SplitRoutes, is_named, name_of

FIELD = "router.route"
MOST_RULES, MOST_MATCHES, MOST_MATCHES_OF_ALL, MOST_BACKENDS = 16, 64, 128, 16
"""How many an HTTPRoute or GRPCRoute may have: rules, matches of a rule and of all, backends of a rule."""
_PERCENT = WHOLE // 100
_ADDING = "ResponseHeaderModifier"
_MIRROR = "RequestMirror"


class GatewayRules(SplitRoutes):
    """What stands in the ``spec`` of an HTTPRoute or GRPCRoute."""

    key = "backendRefs"
    most = 1_000_000
    field = FIELD

    def leads_here(self, spec: Json) -> bool:
        """Whether a rule leads to the users' Service, or to one of a slot."""
        return any(self.leads(rule) or self.is_split(rule) for rule in _rules(spec))

    def is_borrowed(self, spec: Json) -> bool:
        """Whether a rule leads to a slot's Service."""
        return any(self.is_split(rule) for rule in _rules(spec))

    def mirrors(self, spec: Json) -> list[Json]:
        """What a borrowed *spec* copies to slots' Services."""
        filters = [one for rule in _rules(spec) for one in rule.get("filters") or []]
        return [one["requestMirror"] for one in filters if self._is_ours(one)]

    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """The user's own *spec* with the rules that lead to the service split.

        Raises:
            InputError: A rule can't do what *traffic* asks for; not retried.
        """
        rules = _rules(spec)
        drawn = [self._drawn(rule, traffic) for rule in rules]
        inserted = [
            *self._matched(rules, traffic),
            *(rule for slot in traffic.split.shares for rule in self._pinned(rules, slot, traffic)),
        ]
        if inserted:
            _refuse_many(drawn, inserted, "affinity" if traffic.affinity else "matches")
        return spec | {"rules": [*drawn, *inserted]}

    def restored(self, now: Json, original: Json) -> Json:
        """*now* with the service's rules as they are in *original*; what else has changed meanwhile stays."""
        return now | {"rules": self.put_back(_rules(now), _rules(original))}

    def split_of(self, spec: Json) -> Split:
        """The split of a borrowed *spec*.

        Raises:
            ValueError: A rule leads past the slots, or rules are split differently; not retried.
        """
        return self.split_over(_rules(spec))

    # A rule.

    def frame(self, route: Json) -> Json:
        """See `SplitRoutes.frame`."""
        kept = {key: value for key, value in route.items() if key not in ("backendRefs", "filters")}
        filters = [one for one in route.get("filters") or [] if not self._is_ours(one)]
        return kept | ({"filters": filters} if filters else {})

    def is_inserted(self, route: Json, beside: Sequence[Json], original: Sequence[Json]) -> bool:
        """See `SplitRoutes.is_inserted`: its name says it.

        Older servers drop names of rules. There it is one whose matches are another's with one more
        header, all else being the same, and which the user's own were not like before.
        """
        slots = {slot for one in route.get("backendRefs") or [] if (slot := self.slot_of(one))}
        if is_named(route) or len(slots) != 1 or "name" in route:
            return is_named(route) and bool(slots)
        if any(self.frame(route) == self.frame(one) for one in original):
            return False
        return any(_is_narrower(self.frame(route), self.frame(one)) for one in beside if self.is_split(one))

    def _drawn(self, rule: Json, traffic: Traffic) -> Json:
        """The rule with the service's part of it split."""
        if not self.leads(rule):
            return rule
        pinned = traffic if traffic.affinity else None
        if pinned:
            _refuse_cookies(rule)
        backends = self.divided(rule["backendRefs"], traffic.split, pinned)
        if len(backends) > MOST_BACKENDS:
            found = f"a rule ({name_of(rule)}) that would have {len(backends)} backends"
            raise InputError(FIELD, found, f"rules that need at most {MOST_BACKENDS}")
        return rule | {"backendRefs": backends} | self._mirroring(rule, traffic)

    def _matched(self, rules: Sequence[Json], traffic: Traffic) -> Iterator[Json]:
        if traffic.matched and traffic.matches:
            for place in range(len(rules)):
                name = f"{MATCHED}{place}"
                yield from self._all_to(traffic.matched, rules, place, traffic.matches, name)

    def _pinned(self, rules: Sequence[Json], slot: Slot, traffic: Traffic) -> Iterator[Json]:
        if traffic.affinity:
            for place in range(len(rules)):
                name = f"{PINNED}{slot}-{place}"
                yield from self._all_to(slot, rules, place, (pin_of(traffic, slot),), name)

    def _all_to(
        self, slot: Slot, rules: Sequence[Json], place: int, conditions: tuple[Match, ...], name: str
    ) -> Iterator[Json]:
        """A rule's copy for requests that also meet one of *conditions*, whose part then goes to one slot."""
        rule = rules[place]
        if not self.leads(rule):
            return
        field = "matches" if name.startswith(MATCHED) else "affinity"
        met: list[Json] = []
        for match in rule.get("matches") or [{}]:
            for condition in conditions:
                if narrowed := both(match, condition, field):
                    self._refuse_overtaking(narrowed, (place, match), rules, field)
                    met.append(narrowed)
        if met:
            backends = self.divided(rule["backendRefs"], Split.all_to(slot))
            yield rule | {"name": name, "matches": met, "backendRefs": backends}

    def _refuse_overtaking(
        self, narrowed: Json, made_from: tuple[int, Json], rules: Sequence[Json], field: str
    ) -> None:
        """Make sure that no other rule loses requests."""
        others = [
            (at, match)
            for at, rule in enumerate(rules)
            if not self.leads(rule)
            for match in rule.get("matches") or [{}]
        ]
        if (at := overtaken(narrowed, made_from, others)) is not None:
            found = f"rule {at + 1} ({name_of(rules[at])}), which would lose requests to a header more"
            raise InputError(
                field, found, "rules of other services with another path or method, or as many headers"
            )

    def _mirroring(self, rule: Json, traffic: Traffic) -> Json:
        if traffic.mirror is None or not traffic.mirror_share:
            return {}
        filters = rule.get("filters") or []
        of_backends = [one for ref in rule["backendRefs"] for one in ref.get("filters") or []]
        if any(one["type"] == _MIRROR for one in (*filters, *of_backends)):
            found = f"a rule ({name_of(rule)}) that mirrors already"
            raise InputError("mirror", found, "rules that do not")
        first = next(one for one in rule["backendRefs"] if self.is_users(one))
        whole, rest = divmod(traffic.mirror_share, _PERCENT)
        share: Json = {"fraction": {"numerator": traffic.mirror_share, "denominator": WHOLE}}
        if not rest:
            share = {"percent": whole} if traffic.mirror_share < WHOLE else {}
        kept = {key: value for key, value in first.items() if key in ("group", "kind", "namespace", "port")}
        backend = kept | {"name": self.names.of(traffic.mirror)}
        mirror = {"type": _MIRROR, "requestMirror": {"backendRef": backend} | share}
        return {"filters": [*filters, mirror]}

    def _is_ours(self, one: Json) -> bool:
        return one["type"] == _MIRROR and self.slot_of(one["requestMirror"]["backendRef"]) is not None

    # A backend.

    def weights(self, found: Sequence[Json]) -> list[int]:
        """See `SplitRoutes.weights`."""
        return [int(one.get("weight", 1)) for one in found]

    def is_users(self, one: Json) -> bool:
        """See `SplitRoutes.is_users`."""
        return self._is_service(one) and one["name"] == self.names.users

    def slot_of(self, one: Json) -> Slot | None:
        """See `SplitRoutes.slot_of`."""
        return self.names.slot_of(one["name"]) if self._is_service(one) and "." not in one["name"] else None

    def target(self, one: Json) -> Hashable:
        """See `SplitRoutes.target`."""
        return one.get("kind"), one.get("namespace"), one["name"], one.get("port")

    def sent(self, one: Json, slot: Slot, pinned: Traffic | None) -> Json:
        """See `SplitRoutes.sent`."""
        sent = one | {"name": self.names.of(slot)}
        if pinned is None:
            return sent
        cookie = {"name": SET_COOKIE, "value": pinning(pinned, slot)}
        filters = one.get("filters") or []
        adding = next((each for each in filters if each["type"] == _ADDING), None)
        if adding is None:
            return sent | {
                "filters": [*filters, {"type": _ADDING, "responseHeaderModifier": {"add": [cookie]}}]
            }
        said = adding["responseHeaderModifier"]
        both = {"responseHeaderModifier": said | {"add": [*(said.get("add") or []), cookie]}}
        return sent | {"filters": [each | both if each is adding else each for each in filters]}

    def back(self, one: Json) -> Json:
        """See `SplitRoutes.back`."""
        filters = [kept for each in one.get("filters") or [] if (kept := _without_cookie(each))]
        before = {key: value for key, value in one.items() if key != "filters"} | {"name": self.names.users}
        return before | ({"filters": filters} if filters else {})

    def _is_service(self, one: Json) -> bool:
        here = one.get("namespace") or self.names.namespace
        kind = (one.get("group") or "", one.get("kind") or "Service")
        return kind == ("", "Service") and here == self.names.namespace


def _rules(spec: Json) -> list[Json]:
    return spec.get("rules") or []


def _is_narrower(frame: Json, than: Json) -> bool:
    """Whether each match is one of the other's with one header more, and all else is the same."""
    one, other = ({**each, "name": "", "matches": []} for each in (frame, than))
    known = than.get("matches") or [{}]
    matches = frame.get("matches") or []
    return one == other and bool(matches) and all(any(b in known for b in without_one(m)) for m in matches)


def _without_cookie(one: Json) -> Json | None:
    """A backend's filter without what Davy adds; None where nothing else is in it."""
    if one["type"] != _ADDING:
        return one
    said = one["responseHeaderModifier"]
    added = [each for each in said.get("add") or [] if each["name"] != SET_COOKIE]
    kept = {key: value for key, value in (said | {"add": added}).items() if value}
    return one | {"responseHeaderModifier": kept} if kept else None


def _refuse_cookies(rule: Json) -> None:
    """Make sure that nothing takes Davy's cookie out, or replaces it."""
    of_backends = [one for ref in rule["backendRefs"] for one in ref.get("filters") or []]
    touched: list[str] = []
    for one in (*(rule.get("filters") or []), *of_backends):
        said = one.get("responseHeaderModifier") or {}
        touched += [*(each["name"] for each in said.get("set") or []), *(said.get("remove") or [])]
    for one in of_backends:
        touched += [each["name"] for each in (one.get("responseHeaderModifier") or {}).get("add") or []]
    if any(name.lower() == SET_COOKIE for name in touched):
        found = f"a rule ({name_of(rule)}) that changes the answers' {SET_COOKIE} header"
        raise InputError("affinity", found, "rules that do not")


def _refuse_many(drawn: Sequence[Json], inserted: Sequence[Json], field: str) -> None:
    """Make sure that an object may hold as many."""
    everything = [*drawn, *inserted]
    of_each = [len(rule.get("matches") or [{}]) for rule in everything]
    for found, most, what in (
        (len(everything), MOST_RULES, "rules"),
        (max(of_each), MOST_MATCHES, "matches of a rule"),
        (sum(of_each), MOST_MATCHES_OF_ALL, "matches of all rules"),
    ):
        if found > most:
            raise InputError(
                field, f"a route that would need {found} {what}", f"one that needs at most {most}"
            )
