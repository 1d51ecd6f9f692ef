"""The users' Service as the route: against a real API server, pods made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tasks.cluster.cluster import Json, annotations_of
from tasks.cluster.kinds import POD, SERVICE
from tasks.cluster.labels import Marks
from tasks.domain.errors import InputError, LeaseLostError, PermanentError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.journal import FileLease, take
from tasks.routers.replicas import Replicas
from tests.rig.cluster.control_plane import Cluster as Api
from tests.tasks.routers.by_hand import OWN, Shop, labels_of_pods, plain
from tests.tasks.routers.crashes import DiedError, dying, meanwhile

BLUE, GREEN, CANDIDATE, BASELINE = Slot
ROUTER = {"kind": "replicas"}
SHARED = {"app": "shop"}
ALL_BLUE = Traffic(Split.all_to(BLUE))


def to(share: int, new: Slot = CANDIDATE, **others: int) -> Traffic:
    shares = {Slot(slot): other for slot, other in others.items()}
    return Traffic(Split({BLUE: 10_000 - share - sum(shares.values()), new: share} | shares), preview=new)


@dataclass
class Stage:
    """Three pods of blue at rest; nothing else runs."""

    shop: Shop
    lease: FileLease
    original: Json

    @property
    def router(self) -> Replicas:
        """A router, as a new process would have it."""
        return self.opened()

    @property
    def users(self) -> Json:
        """The users' Service."""
        return self.shop.world.need(SERVICE, "shop")

    @property
    def behind(self) -> dict[Slot, int]:
        """How many pods of each slot are among its endpoints."""
        slots = {
            pod["status"]["podIP"]: slot
            for slot in Slot
            for pod in self.shop.world.list(POD, labels_of_pods(slot))
            if "podIP" in pod["status"]
        }
        found = [slots[one.host] for one in self.router.services.endpoints("shop")]
        return {slot: found.count(slot) for slot in Slot if slot in found}

    def opened(self, **parts: object) -> Replicas:
        """A router for a file with these parts."""
        return Replicas(self.shop.file(ROUTER, **parts))

    def write(self, traffic: Traffic) -> dict[Slot, int]:
        """The shares that are really served then; live is what was asked for."""
        served = self.router.write(traffic, self.lease)
        assert self.router.live() == traffic.split
        assert served.shares.keys() == self.behind.keys() - {BASELINE} | traffic.split.shares.keys()
        return dict(served.shares)


def select(shop: Shop, selector: dict[str, str]) -> None:
    """Somebody has the users' Service select something."""

    def edited(found: Json) -> Json:
        found["spec"]["selector"] = dict(selector)
        return found

    shop.world.change(SERVICE, "shop", edited)


def staged(cluster: Api, namespace: str, selector: dict[str, str]) -> Iterator[Stage]:
    shop = Shop(cluster, namespace)
    select(shop, selector)
    shop.deploy(BLUE, pods=3)
    lease = take("shop", "first")
    yield Stage(shop, lease, shop.world.need(SERVICE, "shop"))
    lease.release_now()


@pytest.fixture
def shared(cluster: Api, namespace: str, home: Path) -> Iterator[Stage]:
    """The Service selects the pods of all slots by itself."""
    del home
    yield from staged(cluster, namespace, SHARED)


@pytest.fixture
def exclusive(cluster: Api, namespace: str, home: Path) -> Iterator[Stage]:
    """The Service selects the pods of one colour by itself."""
    del home
    yield from staged(cluster, namespace, OWN)


def test_from_registering_on_pods_of_other_slots_get_nothing_until_they_are_asked_to(shared: Stage) -> None:
    shared.router.register(shared.lease)
    assert shared.router.live() == Split.all_to(BLUE)
    shared.shop.deploy(CANDIDATE, pods=2)
    shared.router.publish(CANDIDATE, shared.router.published(CANDIDATE), shared.lease)
    assert shared.write(ALL_BLUE) == {BLUE: 10_000}
    assert shared.behind == {BLUE: 3}
    before = shared.users
    shared.router.register(shared.lease)
    assert shared.users == before


def test_a_canary_goes_from_count_to_count_and_all_is_given_back_to_the_letter(shared: Stage) -> None:
    shop = shared.shop
    shared.router.register(shared.lease)
    shop.deploy(CANDIDATE)
    shop.deploy(BASELINE)
    assert shared.write(to(500, baseline=500)) == {BLUE: 6000, CANDIDATE: 2000, BASELINE: 2000}
    shop.add_pod(CANDIDATE)
    shared.router.publish(CANDIDATE, shared.router.published(CANDIDATE), shared.lease)
    assert shared.behind == {BLUE: 3, CANDIDATE: 2, BASELINE: 1}
    assert shared.write(to(5000)) == {BLUE: 6000, CANDIDATE: 4000}
    assert shared.behind == {BLUE: 3, CANDIDATE: 2, BASELINE: 1}  # it goes next
    shop.end(BASELINE)
    assert shared.write(to(5000)) == {BLUE: 6000, CANDIDATE: 4000}
    shop.deploy(GREEN, pods=3)
    assert shared.write(Traffic(Split.all_to(GREEN))) == {GREEN: 10_000}
    assert not shared.router.give_back(shared.lease)  # all would get requests by it
    for slot in (CANDIDATE, BLUE):
        shop.end(slot)
    assert shared.router.give_back(shared.lease)
    assert plain(shared.users) == plain(shared.original)
    assert shared.router.live() == Split.all_to(GREEN)
    assert shared.router.give_back(shared.lease)


def test_a_way_back_is_one_write_from_anywhere(shared: Stage) -> None:
    shared.shop.deploy(CANDIDATE)
    shared.shop.deploy(GREEN)
    for slot in (CANDIDATE, GREEN):
        shared.write(Traffic(Split.all_to(slot)))
        assert shared.behind == {slot: 1}
        shared.write(ALL_BLUE)
        assert shared.behind == {BLUE: 3}


def test_an_exclusive_service_switches_all_at_once_and_then_selects_that_colour(exclusive: Stage) -> None:
    shop = exclusive.shop
    exclusive.opened(strategy="blue-green").register(exclusive.lease)
    shop.deploy(GREEN, pods=3)
    assert exclusive.write(Traffic(Split.all_to(GREEN))) == {GREEN: 10_000}
    assert exclusive.router.give_back(exclusive.lease)  # blue is still there, and gets nothing by it
    users = exclusive.users
    assert users["spec"]["selector"] == {"app": "shop", "track": "own-green"}
    assert plain(users) | {"spec": None} == plain(exclusive.original) | {"spec": None}
    exclusive.write(ALL_BLUE)
    assert exclusive.router.give_back(exclusive.lease)
    assert plain(exclusive.users) == plain(exclusive.original)


@pytest.mark.parametrize("strategy", ["canary", "rolling", "blue-green-canary"])
def test_strategies_that_mix_need_a_service_that_selects_both(exclusive: Stage, strategy: str) -> None:
    where = exclusive.shop.namespace
    with pytest.raises(InputError) as refused:
        exclusive.opened(strategy=strategy).register(exclusive.lease)
    assert str(refused.value) == (
        f"router.kind: found 'replicas with {strategy}, where Service/{where}/shop selects by app, track', expected "
        f"a label, such as track, that Deployment/{where}/shop (fleet.deployment) selects by and the Service does "
        "not, so that it selects the pods of both versions; or blue-green; or a router that splits requests itself"
    )
    assert exclusive.users == exclusive.original
    exclusive.shop.deploy(CANDIDATE)
    with pytest.raises(InputError, match=r"router\.kind"):
        exclusive.router.write(to(500), exclusive.lease)
    assert exclusive.users == exclusive.original


def test_a_label_for_versions_that_the_service_selects_by_tells_them_apart(
    cluster: Api, namespace: str
) -> None:
    shop = Shop(cluster, namespace)
    select(shop, SHARED | {"version": "1"})
    shop.deploy(BLUE)
    with pytest.raises(InputError, match=r"and the Service does not \(nor version\)"):
        Replicas(shop.file(ROUTER)).check()


@pytest.mark.parametrize(
    ("parts", "traffic", "field"),
    [
        ({"matches": [{"header": "X", "value": "1"}]}, {"matches": (Match("header", "X", "1"),)}, "matches"),
        ({"mirror": {}}, {"mirror": CANDIDATE, "mirror_share": 10_000}, "mirror"),
        ({"affinity": {}}, {"affinity": "davy"}, "affinity"),
    ],
)
def test_what_counts_cannot_do_is_refused_by_field(
    shared: Stage, parts: dict[str, object], traffic: dict[str, object], field: str
) -> None:
    message = f"{field}: found .*, expected none with router replicas"
    with pytest.raises(InputError, match=message):
        shared.opened(**parts).check()
    with pytest.raises(InputError, match=message):
        shared.router.write(Traffic(Split.all_to(BLUE), **traffic), shared.lease)  # type: ignore[arg-type]
    assert shared.users == shared.original


def test_a_slot_without_ready_pods_gets_no_share(shared: Stage) -> None:
    shared.shop.deploy(CANDIDATE, pods=0)
    for traffic in (to(500), Traffic(Split.all_to(CANDIDATE))):
        with pytest.raises(PermanentError, match="found no ready pod of candidate, expected one before"):
            shared.router.write(traffic, shared.lease)
    assert shared.users == shared.original


def test_nothing_is_split_while_pods_without_a_share_would_get_one(shared: Stage) -> None:
    shared.router.register(shared.lease)
    for slot in (CANDIDATE, GREEN):
        shared.shop.deploy(slot)
    before = shared.users
    with pytest.raises(PermanentError, match="found 1 ready pods of green, which would get requests"):
        shared.router.write(to(500), shared.lease)
    assert shared.users == before


def test_a_selector_of_another_hand_shows_who_is_really_behind(shared: Stage) -> None:
    shared.shop.deploy(CANDIDATE)
    shared.write(ALL_BLUE)

    select(shared.shop, SHARED)
    assert shared.router.live() == Split({BLUE: 7500, CANDIDATE: 2500})
    assert not shared.router.give_back(shared.lease)
    shared.write(ALL_BLUE)
    shared.shop.end(CANDIDATE)
    assert shared.router.give_back(shared.lease)
    assert plain(shared.users) == plain(shared.original)


def test_other_edits_of_the_users_stay(shared: Stage) -> None:
    shared.write(ALL_BLUE)

    def edited(found: Json) -> Json:
        found["metadata"]["annotations"]["owner"] = "web"
        found["spec"]["sessionAffinity"] = "ClientIP"
        return found

    shared.shop.world.change(SERVICE, "shop", edited)
    shared.write(ALL_BLUE)
    assert shared.router.give_back(shared.lease)
    now = shared.users
    assert annotations_of(now) == {"owner": "web"}
    assert now["spec"]["sessionAffinity"] == "ClientIP"
    assert now["spec"]["selector"] == SHARED


def test_an_annotation_that_cannot_be_read_is_no_split(shared: Stage) -> None:
    shared.write(ALL_BLUE)

    def edited(found: Json) -> Json:
        found["metadata"]["annotations"][Marks.of("shop").split] = "some"
        return found

    shared.shop.world.change(SERVICE, "shop", edited)
    assert shared.router.live() == Split.all_to(BLUE)


def test_a_carrier_may_die_before_any_change_and_what_it_repeats_ends_the_same(shared: Stage) -> None:
    shared.shop.deploy(CANDIDATE)
    died = 0
    for traffic in (ALL_BLUE, to(500), Traffic(Split.all_to(CANDIDATE)), ALL_BLUE, None):
        if traffic is None:
            shared.shop.end(CANDIDATE)
        for changes in count(1):
            router = shared.router
            try:
                with dying(router.cluster, changes):
                    router.write(traffic, shared.lease) if traffic else router.give_back(shared.lease)
            except DiedError:
                died += 1
                continue
            break
        assert shared.router.live() == (traffic or ALL_BLUE).split
    assert died == 5
    assert plain(shared.users) == plain(shared.original)


def test_somebody_elses_writes_are_read_before_ours(shared: Stage) -> None:
    shared.shop.deploy(CANDIDATE)

    def touched(found: Json) -> Json:
        found["metadata"]["labels"] = {"touched": "yes"}
        return found

    router = shared.router
    with meanwhile(router.cluster, "replace", lambda: shared.shop.world.change(SERVICE, "shop", touched)):
        router.write(to(500), shared.lease)
    assert router.live() == to(500).split
    assert shared.users["metadata"]["labels"] == {"touched": "yes"}


def test_an_older_epoch_can_change_nothing(shared: Stage) -> None:
    first = shared.lease
    shared.shop.deploy(CANDIDATE)
    shared.write(to(500))
    shared.lease = take("shop", "first", over=True)
    shared.write(ALL_BLUE)

    class Stale:
        epoch, release = first.epoch, first.release

        def check(self) -> None:
            """It believes that it holds it."""

    before = shared.users
    for act in (
        lambda: shared.router.write(to(500), Stale()),
        lambda: shared.router.give_back(Stale()),
    ):
        with pytest.raises(LeaseLostError):
            act()
    assert shared.users == before


def test_a_carrier_that_froze_right_before_its_write_changes_nothing(shared: Stage) -> None:
    shared.shop.deploy(CANDIDATE)
    router, first = shared.router, shared.lease

    def overtaken() -> None:
        shared.lease = take("shop", "first", over=True)
        shared.write(ALL_BLUE)

    with meanwhile(router.cluster, "replace", overtaken), pytest.raises(LeaseLostError):
        router.write(to(500), first)
    assert router.live() == Split.all_to(BLUE)


def test_what_a_release_will_change_is_shown_and_not_done(shared: Stage) -> None:
    (change,) = shared.router.changes()
    assert (change.subject, change.action) == (f"Service/{shared.shop.namespace}/shop", "change")
    assert change.diff.endswith(
        "     app: shop\n+    track: own\n   sessionAffinity: None\n   type: ClusterIP"
    )
    assert shared.users == shared.original
    assert not Marks.of("shop").all & annotations_of(shared.users).keys()
