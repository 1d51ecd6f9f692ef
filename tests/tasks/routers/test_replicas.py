"""The users' Service as the route: against a real API server, pods made by hand."""

from __future__ import annotations

import pytest

from tasks.cluster.cluster import Json, annotations_of
from tasks.cluster.kinds import SERVICE
from tasks.cluster.labels import Marks
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.model import Match, Split, Traffic
from tasks.routers.replicas import Replicas
from tests.rig.cluster.control_plane import Cluster as Api
from tests.tasks.routers.by_hand import Shop, plain
from tests.tasks.routers.selecting import (
    ALL_BLUE,
    BASELINE,
    BLUE,
    CANDIDATE,
    GREEN,
    ROUTER,
    SHARED,
    Stage,
    select,
    to,
)


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


def test_what_a_release_will_change_is_shown_and_not_done(shared: Stage) -> None:
    (change,) = shared.router.changes()
    assert (change.subject, change.action) == (f"Service/{shared.shop.namespace}/shop", "change")
    assert change.diff.endswith(
        "     app: shop\n+    track: own\n   sessionAffinity: None\n   type: ClusterIP"
    )
    assert shared.users == shared.original
    assert not Marks.of("shop").all & annotations_of(shared.users).keys()
