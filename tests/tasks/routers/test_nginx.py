"""What is particular to two Ingresses: against a real API server, pods made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from tasks.cluster.cluster import Json, annotations_of, labels_on
from tasks.cluster.kinds import INGRESS, SERVICE
from tasks.domain.errors import InputError, LeaseLostError, PermanentError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.journal import FileLease, take
from tasks.routers import nginx_ingress as pure
from tasks.routers.nginx import Nginx
from tests.rig.cluster.control_plane import Cluster as Api
from tests.tasks.routers.by_hand import OWN, Shop, plain
from tests.tasks.routers.crashes import DiedError, dying, looking, meanwhile

BLUE, GREEN, CANDIDATE, BASELINE = Slot
HEADER = (Match("header", "X-Tester", "yes"),)


def path(service: str, at: str) -> Json:
    backend = {"service": {"name": service, "port": {"name": "http"}}}
    return {"path": at, "pathType": "Prefix", "backend": backend}


MAIN = {
    "metadata": {"name": "web", "annotations": {"kubernetes.io/ingress.class": "nginx", "owner": "web"}},
    "spec": {
        "rules": [
            {"host": "shop.example", "http": {"paths": [path("shop", "/"), path("cart", "/cart")]}},
            {"host": "cart.example", "http": {"paths": [path("cart", "/")]}},
        ],
        "tls": [{"hosts": ["shop.example", "cart.example"], "secretName": "certificate"}],
    },
}


def to(new: Slot = CANDIDATE, share: int = 0, stable: Slot = BLUE, **more: object) -> Traffic:
    return Traffic(Split({stable: 10_000 - share, new: share}), preview=new, **more)  # type: ignore[arg-type]


@dataclass
class Stage:
    """A shop at rest on blue, with green and a candidate ready beside it."""

    shop: Shop
    router: Nginx
    lease: FileLease
    original: Json
    seen: list[dict[Slot, int]] = field(default_factory=list)

    @property
    def main(self) -> Json:
        """The user's Ingress."""
        return self.shop.world.need(INGRESS, "web")

    @property
    def canary(self) -> Json | None:
        """Davy's Ingress."""
        return self.shop.world.read(INGRESS, "shop-canary")

    def opened(self, **parts: object) -> Nginx:
        """Another router for the same service, as another process would have."""
        return Nginx(self.shop.file({"kind": "nginx"}, **({"baseline": False} | parts)))

    def served(self) -> dict[Slot, int]:
        """What NGINX gives each slot by weight: a canary counts where it leads elsewhere than the main one."""
        (main,) = set(pure.leading(self.main["spec"], self.router.names))
        canary = self.canary
        beside = set(pure.leading(canary["spec"], self.router.names)) if canary else {main}
        weight = 0 if canary is None or beside == {main} else int(annotations_of(canary)[pure.WEIGHT])
        (other,) = beside
        shares = {self._slot(main): 10_000 - weight} | ({self._slot(other): weight} if weight else {})
        return {slot: share for slot, share in shares.items() if share}

    def _slot(self, name: str) -> Slot:
        return self.router.names.slot_of(name) or BLUE

    def look(self) -> None:
        """Remember what is served."""
        self.seen.append(self.served())


@pytest.fixture
def stage(cluster: Api, namespace: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """See `Stage`; no controller is there to be waited for."""
    del home
    for module in ("slot_services", "nginx"):
        monkeypatch.setattr(f"tasks.routers.{module}.SEEN_WITHIN", timedelta(0))
    shop = Shop(cluster, namespace)
    shop.world.change(
        SERVICE, "shop", lambda found: found | {"spec": found["spec"] | {"selector": dict(OWN)}}
    )
    for slot in (BLUE, GREEN, CANDIDATE):
        shop.deploy(slot)
    original = shop.world.create(INGRESS, MAIN)
    lease = take("shop", "first")
    router = Nginx(shop.file({"kind": "nginx"}, baseline=False))
    found = Stage(shop, router, lease, original)
    yield found
    lease.release_now()


WAYS = {
    "canary": [to(), to(share=500), to(share=5000), to(GREEN, 10_000)],
    "to the end": [to(share=2500), to(share=10_000), to(GREEN, 10_000)],
    "colours": [to(GREEN), to(GREEN, 100), to(GREEN, 6000), to(GREEN, 10_000)],
    "testers first": [
        to(matched=CANDIDATE, matches=HEADER),
        to(share=500, matched=CANDIDATE, matches=HEADER),
    ],
    "back": [to(share=5000), to()],
    "back from everything": [to(GREEN, 100), to(GREEN, 10_000), to()],
    "narrower": [to(share=5000), to(share=1), to(share=2)],
    "from green to blue": [to(BLUE, 0, GREEN), to(BLUE, 1000, GREEN), to(BLUE, 10_000, GREEN)],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_moment_of_any_way_gives_a_slot_more_than_before_or_after(
    stage: Stage, way: list[Traffic]
) -> None:
    before = Split.all_to(BLUE) if way[0].split[BLUE] else Split.all_to(GREEN)
    stage.router.write(Traffic(before), stage.lease)
    for traffic in way:
        with looking(stage.router.cluster, stage.look):
            assert stage.router.write(traffic, stage.lease) == traffic.split
        for moment in stage.seen:
            most = {slot: max(before[slot], traffic.split[slot]) for slot in Slot}
            assert all(share <= most[slot] for slot, share in moment.items()), (before, traffic.split, moment)
        assert stage.served() == dict(traffic.split.shares)
        assert stage.router.live() == stage.opened().live() == traffic.split
        stage.seen.clear()
        before = traffic.split


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_carrier_may_die_before_any_change_and_what_it_repeats_ends_the_same(
    stage: Stage, way: list[Traffic]
) -> None:
    died = 0
    for traffic in way:
        for changes in count(1):
            router = stage.opened()
            try:
                with dying(router.cluster, changes):
                    router.write(traffic, stage.lease)
            except DiedError:
                died += 1
                stage.served()  # every path leads somewhere
                continue
            break
        assert stage.router.live() == traffic.split
        assert stage.served() == dict(traffic.split.shares)
    assert died >= len(way)


def test_all_on_one_slot_leaves_no_canary_behind_and_main_is_given_back_to_the_letter(stage: Stage) -> None:
    stage.router.register(stage.lease)
    for traffic in (to(share=500), to(GREEN, 10_000), to()):
        stage.router.write(traffic, stage.lease)
    assert stage.canary is None
    stage.shop.end(CANDIDATE)
    assert stage.router.give_back(stage.lease)
    assert plain(stage.main) == plain(stage.original)
    assert stage.router.live() == Split.all_to(BLUE)


def test_the_canary_ingress_is_whole_before_it_gets_anything(stage: Stage) -> None:
    stage.router.write(to(share=2500, matched=CANDIDATE, matches=HEADER), stage.lease)
    canary = stage.canary
    assert canary is not None
    said = annotations_of(canary)
    prefix = "nginx.ingress.kubernetes.io/canary"
    assert {key.removeprefix(prefix): said[key] for key in said if key.startswith(prefix)} == {
        "": "true",
        "-weight": "2500",
        "-weight-total": "10000",
        "-by-header": "X-Tester",
        "-by-header-value": "yes",
    }
    assert said["kubernetes.io/ingress.class"] == "nginx"
    assert labels_on(canary)["davy/slot"] == "candidate"
    assert canary["spec"]["rules"] == [
        {"host": "shop.example", "http": {"paths": [path("shop-candidate", "/")]}}
    ]
    assert canary["spec"]["tls"] == MAIN["spec"]["tls"]
    assert canary["metadata"]["ownerReferences"][0]["uid"] == stage.original["metadata"]["uid"]
    stage.router.write(to(share=2500), stage.lease)
    assert f"{prefix}-by-header" not in annotations_of(stage.canary or {})


def test_an_edit_of_the_canarys_weight_shows_as_another_split(stage: Stage) -> None:
    stage.router.write(to(share=500), stage.lease)

    def heavier(found: Json) -> Json:
        found["metadata"]["annotations"][pure.WEIGHT] = "5000"
        return found

    stage.shop.world.change(INGRESS, "shop-canary", heavier)
    assert stage.router.live() == to(share=5000).split
    stage.router.write(to(share=500), stage.lease)
    assert stage.router.live() == to(share=500).split


def test_a_canary_that_somebody_deletes_shows_as_another_split(stage: Stage) -> None:
    stage.router.write(to(share=500), stage.lease)
    stage.shop.world.delete(INGRESS, "shop-canary")
    assert stage.router.live() == to().split
    stage.router.write(to(share=500), stage.lease)
    assert stage.router.live() == to(share=500).split


def test_a_main_ingress_that_somebody_applies_anew_leads_to_the_users_service_and_goes_on(
    stage: Stage,
) -> None:
    stage.router.write(to(share=500), stage.lease)
    stage.shop.world.change(INGRESS, "web", lambda found: found | {"spec": stage.original["spec"]})
    assert stage.router.live() == to(share=500).split  # the users' Service selects blue
    assert not stage.router.give_back(stage.lease)
    stage.router.write(to(), stage.lease)
    assert stage.canary is None
    assert stage.router.give_back(stage.lease)
    assert plain(stage.main) == plain(stage.original)


def test_a_path_that_somebody_adds_is_an_error_until_it_is_split_too(stage: Stage) -> None:
    stage.router.write(to(share=500), stage.lease)

    def wider(found: Json) -> Json:
        found["spec"]["rules"].append({"host": "new.example", "http": {"paths": [path("shop-blue", "/")]}})
        return found

    stage.shop.world.change(INGRESS, "web", wider)
    with pytest.raises(PermanentError, match="found 1 of 2 paths split"):
        stage.router.live()
    stage.router.write(to(share=1000), stage.lease)
    assert stage.router.live() == to(share=1000).split


def test_a_newer_epoch_is_not_written_over(stage: Stage) -> None:
    first = stage.lease
    stage.router.write(to(share=500), first)
    stage.lease = take("shop", "first", over=True)
    stage.opened().write(to(), stage.lease)

    class Stale:
        epoch, release = first.epoch, first.release

        def check(self) -> None:
            """It believes that it holds it."""

    before = [stage.main, stage.canary, *stage.shop.world.list(SERVICE)]
    for act in (
        lambda: stage.router.write(to(share=500), Stale()),
        lambda: stage.router.give_back(Stale()),
    ):
        with pytest.raises(LeaseLostError):
            act()
    assert [stage.main, stage.canary, *stage.shop.world.list(SERVICE)] == before


@pytest.mark.parametrize("verb", ["create", "replace"])
def test_a_carrier_that_froze_at_its_first_write_gives_the_candidate_nothing(stage: Stage, verb: str) -> None:
    """What it creates late has no share, and what it replaces late is not there any more."""
    stage.router.register(stage.lease)
    if verb == "replace":
        stage.router.write(to(share=1), stage.lease)

    def overtaken() -> None:
        stage.lease = take("shop", "first", over=True)
        stage.opened().write(to(), stage.lease)

    with (
        meanwhile(stage.router.cluster, verb, overtaken),
        pytest.raises(LeaseLostError),
    ):
        stage.router.write(to(share=500), stage.lease)
    assert stage.router.live() == to().split
    assert stage.served() == {BLUE: 10_000}
    stage.opened().give_back(stage.lease)
    assert stage.canary is None


def test_a_carrier_that_froze_at_a_deletion_leaves_the_newer_canary(stage: Stage) -> None:
    stage.router.write(to(share=500), stage.lease)

    def overtaken() -> None:
        stage.lease = take("shop", "first", over=True)
        stage.opened().write(to(share=100), stage.lease)

    with meanwhile(stage.router.cluster, "delete", overtaken), pytest.raises(Exception, match="409"):
        stage.router.write(to(), stage.lease)
    assert stage.router.live() == to(share=100).split


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"baseline": True}, "baseline: found True, expected false: NGINX has one canary for a path"),
        ({"mirror": {}}, "mirror: found 'candidate', expected none"),
        ({"affinity": {}}, "affinity: found 'davy', expected none"),
        ({"matches": [{"cookie": "a", "value": "1"}]}, "matches: found 'cookie a=1', expected the value"),
    ],
)
def test_what_nginx_cannot_do_is_refused_before_anything_is_touched(
    stage: Stage, parts: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        stage.opened(**parts).register(stage.lease)
    assert str(refused.value).startswith(message)
    assert stage.main == stage.original


def test_a_canary_of_the_users_own_is_refused_by_name(stage: Stage) -> None:
    stage.router.check()
    own = {
        "metadata": {"name": "mine", "annotations": {pure.CANARY: "true"}},
        "spec": {"rules": [{"host": "shop.example", "http": {"paths": [path("shop-beta", "/")]}}]},
    }
    stage.shop.world.create(INGRESS, own)
    where = stage.shop.namespace
    with pytest.raises(
        InputError, match=f"router.ingress: found 'Ingress/{where}/mine', expected no other canary"
    ):
        stage.router.check()
    stage.shop.world.delete(INGRESS, "mine")
    stage.shop.world.create(INGRESS, own | {"metadata": {"name": "shop-canary"}})
    with pytest.raises(
        InputError, match=f"router.ingress: found 'Ingress/{where}/shop-canary', expected this name"
    ):
        stage.router.check()


def test_what_a_release_will_make_is_shown_and_not_done(stage: Stage) -> None:
    change, create = stage.router.changes()
    where = stage.shop.namespace
    assert (change.subject, change.action) == (f"Ingress/{where}/web", "change")
    assert "-            name: shop\n+            name: shop-blue" in change.diff
    assert (create.subject, create.action) == (f"Ingress/{where}/shop-canary", "create")
    assert "nginx.ingress.kubernetes.io/canary-weight-total: '10000'" in create.diff
    assert (stage.main, stage.canary) == (stage.original, None)
