"""What a split looks like as two Ingresses of the NGINX ingress controller. Pure.

The main one, the user's own, leads to one slot; a canary Ingress beside it leads the same paths to
another one, for a weight out of `WHOLE` and for one header or cookie. NGINX takes one canary for a path, and
leaves a canary out that leads where the main one does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass

from tasks.cluster import Json
from tasks.cluster.cluster import annotations_of
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.service_names import ServiceNames

PREFIX = "nginx.ingress.kubernetes.io/"
CANARY = f"{PREFIX}canary"
WEIGHT, TOTAL = f"{CANARY}-weight", f"{CANARY}-weight-total"
HEADER, VALUE, COOKIE = f"{CANARY}-by-header", f"{CANARY}-by-header-value", f"{CANARY}-by-cookie"
CLASS = "kubernetes.io/ingress.class"
ALWAYS = "always"
"""The one value of a cookie that NGINX sends to the canary."""

_NOT_INHERITED = ("load-balance", "upstream-hash-by", "service-upstream", "affinity", "session-cookie")
"""Beginnings of the annotations that NGINX doesn't take over from the main Ingress."""
_LEAST_TOTAL = 100
"""NGINX takes any smaller total for this one."""
_READABLE = re.compile(r"[-._~a-zA-Z0-9/:]+")
"""What NGINX takes as a header, its value, or a cookie; an annotation with anything else counts as none."""

Place = tuple[str, str, str]
"""Host, path and path type of a route."""


@dataclass(frozen=True)
class Beside:
    """What the canary Ingress gives its slot.

    Attributes:
        weight: Basis points.
        matches: Requests that go there whatever the weight.
    """

    slot: Slot
    weight: int
    matches: tuple[Match, ...] = ()


def main_of(traffic: Traffic) -> Slot:
    """The slot that the main Ingress leads to: of those that have a share, the one that is not on trial."""
    there = [slot for slot in Slot if traffic.split[slot]]
    return next((slot for slot in there if slot not in (traffic.matched, traffic.preview)), there[0])


def beside_of(traffic: Traffic) -> Beside | None:
    """What the canary Ingress has to give; None where there is to be none."""
    others = _others(traffic)
    if not others:
        return None
    matches = traffic.matches if traffic.matched is others[0] else ()
    return Beside(others[0], traffic.split[others[0]], matches)


def goes_first(now: Beside | None, wanted: Beside | None) -> bool:
    """Whether the canary Ingress is to be written before the main one.

    So no slot has a larger share between the two writes than before or after both: what widens the
    canary, or leads it elsewhere, comes first; what narrows it, or takes it away, comes last.
    """
    return wanted is not None and not (now and now.slot is wanted.slot and wanted.weight < now.weight)


def joint(main: Split, beside: Beside | None) -> Split:
    """The split that both Ingresses give together, the main one leading where *main* says."""
    if beside is None or not beside.weight or main == Split.all_to(beside.slot):
        return main
    rest = WHOLE - beside.weight
    shares = {slot: share * rest // WHOLE for slot, share in main.shares.items()}
    most = max(shares, key=lambda slot: shares[slot])
    shares[most] += rest - sum(shares.values())
    return Split(shares | {beside.slot: shares.get(beside.slot, 0) + beside.weight})


def refuse(traffic: Traffic) -> None:
    """Find what of *traffic* NGINX cannot do.

    Raises:
        InputError: It names the key of the service file; not retried.
    """
    if len(_others(traffic)) > 1:
        raise InputError("baseline", True, "false: NGINX has one canary for a path")  # noqa: FBT003
    if traffic.mirror:
        expected = (
            "none: NGINX copies the requests of all paths, counts no copies, and waits for their answers"
        )
        raise InputError("mirror", str(traffic.mirror), expected)
    if traffic.affinity:
        raise InputError("affinity", traffic.affinity, "none: NGINX draws anew for each request")
    kinds = [match.kind for match in traffic.matches]
    if len(set(kinds)) != len(kinds):
        found = ", ".join(f"{match.kind} {match.name}" for match in traffic.matches)
        raise InputError("matches", found, "at most one header and one cookie: NGINX takes no more")
    for match in traffic.matches:
        if match.kind == "cookie" and match.value != ALWAYS:
            expected = f"the value {ALWAYS!r}, the only one that NGINX looks for in a cookie"
            raise InputError("matches", f"cookie {match.name}={match.value}", expected)
        for text in (match.name, match.value):
            if not _READABLE.fullmatch(text):
                raise InputError("matches", text, "letters, digits and -._~/: only, as NGINX reads them")


def routed(spec: Json, names: ServiceNames, slot: Slot) -> Json:
    """*spec* with all that leads to the service leading to *slot*."""
    return _renamed(spec, names, names.of(slot))


def restored(spec: Json, names: ServiceNames) -> Json:
    """*spec* with all that leads to the service leading to the users' Service."""
    return _renamed(spec, names, names.users)


def leading(spec: Json, names: ServiceNames) -> Iterator[str]:
    """The Services that routes in *spec* lead to, of those that are the service's."""
    return (one["name"] for _, one in _backends(spec) if _is_service(one, names))


def slot_led_to(spec: Json, names: ServiceNames) -> Slot:
    """The one slot that *spec* leads to.

    Raises:
        ValueError: There are several, or the users' Service among them.
    """
    found = set(leading(spec, names))
    slots = [slot for slot in Slot if names.of(slot) in found]
    if len(found) != 1 or not slots:
        msg = f"found routes to {', '.join(sorted(found)) or 'nowhere'}, expected one slot's Service"
        raise ValueError(msg)
    return slots[0]


def is_canary(found: Json) -> bool:
    """Whether an Ingress is one that NGINX reads beside another one."""
    return annotations_of(found).get(CANARY) == "true"


def places(spec: Json, names: ServiceNames) -> frozenset[Place]:
    """The routes of *spec* that lead to the service."""
    return frozenset(place for place, one in _backends(spec) if _is_service(one, names))


def all_places(spec: Json) -> frozenset[Place]:
    """All routes of *spec*."""
    return frozenset(place for place, _ in _backends(spec))


def canary_of(main: Json, own: Json, names: ServiceNames, beside: Beside) -> Json:
    """The canary Ingress: annotations and spec.

    Args:
        main: The main Ingress.
        own: Its spec, leading to the users' Service.
    """
    return {
        "metadata": {"annotations": _kept(annotations_of(main)) | _shares(beside)},
        "spec": _beside_spec(own, names, names.of(beside.slot)),
    }


def read_beside(canary: Json | None, main: Json, names: ServiceNames) -> Beside | None:
    """What the canary Ingress gives its slot, without matches; None where NGINX sees none.

    Raises:
        ValueError: It does not split exactly the routes that lead to the service.
    """
    if canary is None or not is_canary(canary):
        return None
    slot, said = slot_led_to(canary["spec"], names), annotations_of(canary)
    try:
        weight, total = int(said.get(WEIGHT, 0)), int(said.get(TOTAL, _LEAST_TOTAL))
    except ValueError as error:
        msg = f"found the weight {said.get(WEIGHT)!r} of {said.get(TOTAL)!r}, expected numbers"
        raise ValueError(msg) from error
    here, there = places(canary["spec"], names), places(main["spec"], names)
    if here != there:
        msg = f"found {len(here & there)} of {len(there)} paths split, expected all of them and no others"
        raise ValueError(msg)
    return Beside(slot, min(WHOLE, weight * WHOLE // max(total, _LEAST_TOTAL)))


def _others(traffic: Traffic) -> list[Slot]:
    """Slots that need a canary."""
    main, matched = main_of(traffic), traffic.matched if traffic.matches else None
    return [slot for slot in Slot if slot is not main and (traffic.split[slot] or slot is matched)]


def _shares(beside: Beside) -> dict[str, str]:
    said = {CANARY: "true", WEIGHT: str(beside.weight), TOTAL: str(WHOLE)}
    for match in beside.matches:
        said |= {COOKIE: match.name} if match.kind == "cookie" else {HEADER: match.name, VALUE: match.value}
    return said


def _kept(annotations: dict[str, str]) -> dict[str, str]:
    """What of the main Ingress's annotations the canary needs too."""
    beginnings = (CLASS, *(f"{PREFIX}{one}" for one in _NOT_INHERITED))
    return {key: text for key, text in annotations.items() if key.startswith(beginnings)}


def _beside_spec(own: Json, names: ServiceNames, name: str) -> Json:
    """Only the rules of *own* that lead to the service, leading to *name*."""
    spec: Json = {key: own[key] for key in ("ingressClassName",) if key in own}
    if _is_service((own.get("defaultBackend") or {}).get("service"), names):
        spec["defaultBackend"] = own["defaultBackend"]
    rules = [
        rule | {"http": {"paths": paths}} for rule in own.get("rules") or [] if (paths := _ours(rule, names))
    ]
    hosts = {rule["host"] for rule in rules if "host" in rule}
    tls = [one for one in own.get("tls") or [] if _concerns(one.get("hosts"), hosts)]
    spec |= {key: value for key, value in (("rules", rules), ("tls", tls)) if value}
    return _renamed(spec, names, name)


def _ours(rule: Json, names: ServiceNames) -> list[Json]:
    paths = (rule.get("http") or {}).get("paths") or []
    return [path for path in paths if _is_service(path["backend"].get("service"), names)]


def _concerns(those: Collection[str] | None, hosts: Collection[str]) -> bool:
    return not those or not hosts or bool(set(those) & set(hosts))


def _renamed(spec: Json, names: ServiceNames, name: str) -> Json:
    changed = deepcopy(spec)
    for _, one in _backends(changed):
        if _is_service(one, names):
            one["name"] = name
    return changed


def _is_service(service: Json | None, names: ServiceNames) -> bool:
    return service is not None and (
        names.is_users(service["name"]) or names.slot_of(service["name"]) is not None
    )


def _backends(spec: Json) -> Iterator[tuple[Place, Json]]:
    """Every Service that *spec* leads to, with the route that does."""
    if service := (spec.get("defaultBackend") or {}).get("service"):
        yield ("", "", "default"), service
    for rule in spec.get("rules") or []:
        for path in (rule.get("http") or {}).get("paths") or []:
            if service := path["backend"].get("service"):
                yield (rule.get("host", ""), path.get("path", ""), path["pathType"]), service
