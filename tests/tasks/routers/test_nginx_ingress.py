"""Two Ingresses for one split: what they say, and which of them is written first."""

from __future__ import annotations

from itertools import product

import pytest

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.routers import nginx_ingress as pure
from tasks.routers.nginx_ingress import Beside
from tasks.routers.service_names import ServiceNames

NAMES = ServiceNames("sales", "shop")
BLUE, GREEN, CANDIDATE, BASELINE = Slot
HEADER = Match("header", "X-Tester", "yes")
COOKIE = Match("cookie", "tester", "always")


def split(**shares: int) -> Split:
    return Split({Slot(slot): share for slot, share in shares.items()})


def path(service: str, at: str = "/") -> Json:
    return {
        "path": at,
        "pathType": "Prefix",
        "backend": {"service": {"name": service, "port": {"number": 80}}},
    }


def ingress(**more: object) -> Json:
    rules = [
        {"host": "a.example", "http": {"paths": [path("shop"), path("cart", "/cart")]}},
        {"host": "b.example", "http": {"paths": [path("cart")]}},
        {"http": {"paths": [path("shop", "/any")]}},
        {"host": "c.example"},
    ]
    tls = [{"hosts": ["a.example"], "secretName": "a"}, {"hosts": ["b.example"], "secretName": "b"}]
    metadata = {
        "name": "web",
        "annotations": {
            "nginx.ingress.kubernetes.io/upstream-hash-by": "$remote_addr",
            "nginx.ingress.kubernetes.io/rewrite-target": "/x",
            "kubernetes.io/ingress.class": "nginx",
            "owner": "sales",
        },
    }
    return {"metadata": metadata, "spec": {"ingressClassName": "nginx", "rules": rules, "tls": tls} | more}


MATCHED = {"matched": CANDIDATE, "matches": (HEADER, COOKIE), "preview": CANDIDATE}


@pytest.mark.parametrize(
    ("traffic", "main", "beside"),
    [
        (Traffic(Split.all_to(BLUE)), BLUE, None),
        (Traffic(Split.all_to(GREEN), preview=GREEN), GREEN, None),
        (Traffic(Split.all_to(CANDIDATE)), CANDIDATE, None),
        (Traffic(split(green=9500, candidate=500)), GREEN, Beside(CANDIDATE, 500)),
        (Traffic(split(blue=2000, green=8000)), BLUE, Beside(GREEN, 8000)),
        (Traffic(split(blue=8000, green=2000), preview=BLUE), GREEN, Beside(BLUE, 8000)),
        (Traffic(Split.all_to(BLUE), **MATCHED), BLUE, Beside(CANDIDATE, 0, (HEADER, COOKIE))),  # type: ignore[arg-type]
        (Traffic(split(blue=9999, candidate=1), **MATCHED), BLUE, Beside(CANDIDATE, 1, (HEADER, COOKIE))),  # type: ignore[arg-type]
        (Traffic(Split.all_to(CANDIDATE), **MATCHED), CANDIDATE, None),  # type: ignore[arg-type]
    ],
)
def test_stable_is_in_the_main_ingress_and_the_other_beside_it(
    traffic: Traffic, main: Slot, beside: Beside | None
) -> None:
    assert (pure.main_of(traffic), pure.beside_of(traffic)) == (main, beside)
    pure.refuse(traffic)


def served(main: Slot, beside: Beside | None) -> dict[Slot, int]:
    """What NGINX gives: a canary that leads where the main one does is left out."""
    if beside is None or beside.slot is main:
        return {main: 10_000}
    return {main: 10_000 - beside.weight, beside.slot: beside.weight}


def asked(stable: Slot) -> list[Traffic]:
    """What a release may ask for, in whatever strategy."""
    tried = [slot for slot in (BLUE, GREEN, CANDIDATE) if slot is not stable]
    shares = [(new, share) for new in tried for share in (0, 1, 2500, 7500, 10_000)]
    return [
        Traffic(Split({stable: 10_000 - share, new: share}), preview=new, matched=matched, matches=(HEADER,))
        for new, share in shares
        for matched in (None, new)
    ] + [Traffic(Split.all_to(slot)) for slot in (stable, *tried)]


@pytest.mark.parametrize("stable", [BLUE, GREEN])
def test_between_the_two_writes_no_slot_gets_more_than_before_or_after(stable: Slot) -> None:
    for before, after in product(asked(stable), asked(stable)):
        main, beside = pure.main_of(before), pure.beside_of(before)
        new_main, new_beside = pure.main_of(after), pure.beside_of(after)
        canary_first = pure.goes_first(beside, new_beside)
        between = served(main, new_beside) if canary_first else served(new_main, beside)
        assert all(share <= max(before.split[slot], after.split[slot]) for slot, share in between.items()), (
            f"{before.split} -> {after.split}: {between}"
        )
        assert served(new_main, new_beside) == dict(after.split.shares) | dict.fromkeys(
            [new_beside.slot] if new_beside and not new_beside.weight else [], 0
        )


def test_the_main_ingress_leads_to_a_slot_and_back_to_the_letter() -> None:
    spec = ingress(defaultBackend={"service": {"name": "shop", "port": {"name": "http"}}})["spec"]
    borrowed = pure.routed(spec, NAMES, GREEN)
    assert list(pure.leading(borrowed, NAMES)) == ["shop-green"] * 3
    assert pure.slot_led_to(borrowed, NAMES) is GREEN
    assert pure.restored(borrowed, NAMES) == spec
    assert list(pure.leading(spec, NAMES)) == ["shop"] * 3


def test_the_canary_has_the_services_paths_only_and_what_nginx_does_not_inherit() -> None:
    main = ingress()
    canary = pure.canary_of(main, main["spec"], NAMES, Beside(CANDIDATE, 250, (HEADER, COOKIE)))
    assert canary["spec"] == {
        "ingressClassName": "nginx",
        "rules": [
            {"host": "a.example", "http": {"paths": [path("shop-candidate")]}},
            {"http": {"paths": [path("shop-candidate", "/any")]}},
        ],
        "tls": [{"hosts": ["a.example"], "secretName": "a"}],
    }
    prefix = "nginx.ingress.kubernetes.io"
    assert canary["metadata"]["annotations"] == {
        f"{prefix}/canary": "true",
        f"{prefix}/canary-weight": "250",
        f"{prefix}/canary-weight-total": "10000",
        f"{prefix}/canary-by-header": "X-Tester",
        f"{prefix}/canary-by-header-value": "yes",
        f"{prefix}/canary-by-cookie": "tester",
        f"{prefix}/upstream-hash-by": "$remote_addr",
        "kubernetes.io/ingress.class": "nginx",
    }


@pytest.mark.parametrize(
    ("said", "weight"),
    [({}, 250), ({"canary-weight-total": "50"}, 10_000), ({"canary-weight": "5000"}, 5000)],
)
def test_a_canary_is_read_as_nginx_reads_it(said: dict[str, str], weight: int) -> None:
    main = ingress()
    canary = pure.canary_of(main, main["spec"], NAMES, Beside(CANDIDATE, 250))
    canary["metadata"]["annotations"] |= {f"{pure.PREFIX}{key}": text for key, text in said.items()}
    assert pure.read_beside(canary, main, NAMES) == Beside(CANDIDATE, weight)
    canary["metadata"]["annotations"][pure.CANARY] = "false"
    assert pure.read_beside(canary, main, NAMES) is None


def test_a_canary_that_does_not_split_every_path_is_an_error() -> None:
    main = ingress()
    canary = pure.canary_of(main, main["spec"], NAMES, Beside(CANDIDATE, 250))
    del canary["spec"]["rules"][1]
    with pytest.raises(ValueError, match="found 1 of 2 paths split"):
        pure.read_beside(canary, main, NAMES)
    canary = pure.canary_of(main, main["spec"], NAMES, Beside(CANDIDATE, 250))
    canary["metadata"]["annotations"][pure.WEIGHT] = "some"
    with pytest.raises(ValueError, match="found the weight 'some' of '10000', expected numbers"):
        pure.read_beside(canary, main, NAMES)


@pytest.mark.parametrize("backends", [("shop", "shop-blue"), ("shop-green", "shop-blue"), ("cart",)])
def test_a_main_ingress_that_leads_to_several_is_an_error(backends: tuple[str, ...]) -> None:
    spec = {"rules": [{"http": {"paths": [path(name, f"/{name}") for name in backends]}}]}
    with pytest.raises(ValueError, match="expected one slot's Service"):
        pure.slot_led_to(spec, NAMES)


def test_both_ingresses_together_give_the_split() -> None:
    main = Split.all_to(BLUE)
    assert (
        pure.joint(main, None)
        == pure.joint(main, Beside(BLUE, 9))
        == pure.joint(main, Beside(GREEN, 0))
        == main
    )
    assert pure.joint(main, Beside(GREEN, 10_000)) == Split.all_to(GREEN)
    assert pure.joint(split(blue=6667, baseline=3333), Beside(GREEN, 1)) == split(
        blue=6667, baseline=3332, green=1
    )


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        (
            Traffic(split(blue=9000, candidate=500, baseline=500)),
            "baseline: found True, expected false: NGINX has one canary for a path",
        ),
        (
            Traffic(Split.all_to(BLUE), mirror=GREEN, mirror_share=10_000),
            "mirror: found 'green', expected none",
        ),
        (Traffic(Split.all_to(BLUE), affinity="davy"), "affinity: found 'davy', expected none"),
        (
            Traffic(Split.all_to(BLUE), matched=GREEN, matches=(HEADER, Match("header", "Y", "1"))),
            "matches: found 'header X-Tester, header Y', expected at most one header and one cookie",
        ),
        (
            Traffic(Split.all_to(BLUE), matched=GREEN, matches=(Match("cookie", "tester", "yes"),)),
            "matches: found 'cookie tester=yes', expected the value 'always'",
        ),
        (
            Traffic(Split.all_to(BLUE), matched=GREEN, matches=(Match("header", "X", "a b"),)),
            "matches: found 'a b', expected letters, digits",
        ),
    ],
)
def test_what_nginx_cannot_do_is_refused_by_field(traffic: Traffic, message: str) -> None:
    with pytest.raises(InputError) as refused:
        pure.refuse(traffic)
    assert str(refused.value).startswith(message)
