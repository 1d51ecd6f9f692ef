"""What is particular to two Ingresses: against a real API server, pods made by hand."""

from __future__ import annotations

import pytest

from tasks.cluster.cluster import Json, annotations_of, labels_on
from tasks.cluster.kinds import INGRESS
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.model import Slot, Split, Traffic
from tasks.routers import nginx_ingress as pure
from tests.tasks.routers import ingresses
from tests.tasks.routers.by_hand import plain
from tests.tasks.routers.crashes import looking
from tests.tasks.routers.ingresses import BLUE, CANDIDATE, GREEN, HEADER, MAIN, WAYS, Stage, path, to

stage = ingresses.stage


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
