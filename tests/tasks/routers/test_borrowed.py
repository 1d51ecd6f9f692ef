"""What every router does that borrows a route object: against a real API server, pods made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tasks.cluster.cluster import Json
from tasks.cluster.kinds import SERVICE
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.model import Slot, Split, Traffic
from tests.tasks.routers.borrowing import BLUE, HALF, TENTH, Stage, opened
from tests.tasks.routers.by_hand import plain
from tests.tasks.routers.routes import WEIGHED


@pytest.mark.parametrize(
    "shares", [{Slot.BLUE: 10_000}, {Slot.BLUE: 9_999, Slot.CANDIDATE: 1}, {Slot.CANDIDATE: 10_000}]
)
def test_live_is_what_was_written(stage: Stage, shares: Mapping[Slot, int]) -> None:
    split = Split(shares)
    assert stage.router.write(Traffic(split), stage.lease) == split
    assert stage.router.live() == split
    assert stage.opened().live() == split


def test_the_same_write_again_changes_nothing(borrowed: Stage) -> None:
    before = borrowed.now
    borrowed.router.write(TENTH, borrowed.lease)
    assert borrowed.now == before


def test_registering_leads_all_requests_to_stables_own_service(stage: Stage) -> None:
    """The users' Service selects every pod of the shop, so a candidate's would get some of them."""
    stage.shop.end(Slot.CANDIDATE)
    stage.router.register(stage.lease)
    assert stage.router.is_borrowed(stage.now["spec"])
    assert stage.router.live() == Split.all_to(Slot.BLUE)


def test_registering_again_leaves_a_split_as_it_is(borrowed: Stage) -> None:
    before = borrowed.now
    borrowed.opened().register(borrowed.lease)
    assert borrowed.now == before


def test_at_rest_the_pods_behind_the_users_service_count(stage: Stage) -> None:
    live = stage.router.live()
    assert live is not None
    assert dict(live.shares) == {Slot.BLUE: 6_667, Slot.CANDIDATE: 3_333}


def test_what_is_given_back_is_the_users_own_to_the_byte(borrowed: Stage) -> None:
    borrowed.router.write(BLUE, borrowed.lease)
    borrowed.shop.end(Slot.CANDIDATE)
    assert borrowed.router.give_back(borrowed.lease) is True
    assert plain(borrowed.now) == plain(borrowed.original)
    assert borrowed.router.live() == Split.all_to(Slot.BLUE)


def test_giving_back_again_changes_nothing(borrowed: Stage) -> None:
    borrowed.router.write(BLUE, borrowed.lease)
    borrowed.shop.end(Slot.CANDIDATE)
    borrowed.router.give_back(borrowed.lease)
    before = borrowed.now
    assert borrowed.router.give_back(borrowed.lease) is True
    assert borrowed.now == before


def test_nothing_is_given_back_while_requests_are_split(borrowed: Stage) -> None:
    before = borrowed.now
    assert borrowed.router.give_back(borrowed.lease) is False
    assert borrowed.now == before


def test_nothing_is_given_back_while_others_would_get_requests_by_it(borrowed: Stage) -> None:
    """The users' Service selects the candidate's pods too, and those are still there."""
    borrowed.router.write(BLUE, borrowed.lease)
    before = borrowed.now
    assert borrowed.router.give_back(borrowed.lease) is False
    assert borrowed.now == before


def test_the_users_service_follows_the_colour_that_has_everything(
    stage: Stage,
) -> None:
    """Its selector keeps its keys, and has that colour's values."""
    world = stage.shop.world
    users = world.need(SERVICE, "shop")
    users["spec"]["selector"]["track"] = "own"
    world.change(SERVICE, "shop", lambda _: users)
    stage.shop.deploy(Slot.GREEN)
    stage.router.write(Traffic(Split.all_to(Slot.GREEN)), stage.lease)
    assert stage.router.give_back(stage.lease) is True
    assert world.need(SERVICE, "shop")["spec"]["selector"] == {"app": "shop", "track": "own-green"}
    assert plain(stage.now) == plain(stage.original)
    assert stage.router.live() == Split.all_to(Slot.GREEN)


def test_edits_of_the_users_meanwhile_stay(borrowed: Stage) -> None:
    """What they changed is changed in what they get back, and nothing else is."""

    def edit(found: Json) -> Json:
        borrowed.route.edit(found["spec"])
        found["metadata"]["labels"]["team"] = "shop"
        return found

    borrowed.shop.world.change(borrowed.route.kind, "shop", edit)
    assert borrowed.router.live() == TENTH.split
    borrowed.router.write(HALF, borrowed.lease)
    assert borrowed.router.live() == HALF.split
    borrowed.router.write(BLUE, borrowed.lease)
    borrowed.shop.end(Slot.CANDIDATE)
    assert borrowed.router.give_back(borrowed.lease) is True
    expected = edit(borrowed.original)
    assert plain(borrowed.now) == plain(expected)


def test_an_object_that_the_user_writes_anew_is_borrowed_anew(borrowed: Stage) -> None:
    """As a tool that applies it from a repository does; that is drift, which a router only shows."""
    borrowed.shop.world.change(
        borrowed.route.kind, "shop", lambda found: found | {"spec": borrowed.original["spec"]}
    )
    assert borrowed.router.live() != TENTH.split
    borrowed.router.write(TENTH, borrowed.lease)
    assert borrowed.router.live() == TENTH.split
    borrowed.router.write(BLUE, borrowed.lease)
    borrowed.shop.end(Slot.CANDIDATE)
    borrowed.router.give_back(borrowed.lease)
    assert plain(borrowed.now) == plain(borrowed.original)


@pytest.mark.parametrize("stage", WEIGHED, indirect=True)
def test_weights_of_another_hand_show_as_another_split(borrowed: Stage) -> None:
    def edit(found: Json) -> Json:
        assert borrowed.route.reweigh
        borrowed.route.reweigh(found["spec"], {"shop-blue": 3, "shop-candidate": 1})
        return found

    borrowed.shop.world.change(borrowed.route.kind, "shop", edit)
    live = borrowed.router.live()
    assert live is not None
    assert dict(live.shares) == {Slot.BLUE: 7_500, Slot.CANDIDATE: 2_500}


@pytest.mark.parametrize("stage", WEIGHED, indirect=True)
def test_weights_that_say_nothing_are_refused_by_name(borrowed: Stage) -> None:
    def edit(found: Json) -> Json:
        assert borrowed.route.reweigh
        borrowed.route.reweigh(found["spec"], {"shop-blue": 0, "shop-candidate": 0})
        return found

    borrowed.shop.world.change(borrowed.route.kind, "shop", edit)
    subject = f"{borrowed.route.kind}/{borrowed.shop.namespace}/shop: found no weight"
    with pytest.raises(PermanentError, match=subject):
        borrowed.router.live()


def test_no_share_goes_to_a_slot_without_ready_pods(stage: Stage) -> None:
    before = stage.now
    with pytest.raises(PermanentError, match="shop-green: found no ready pod"):
        stage.router.write(Traffic(Split({Slot.BLUE: 5_000, Slot.GREEN: 5_000})), stage.lease)
    assert stage.now == before


def test_a_slot_that_is_published_has_a_service_and_one_without_replicas_has_none(stage: Stage) -> None:
    stage.router.publish(Slot.CANDIDATE, stage.router.published(Slot.CANDIDATE), stage.lease)
    assert len(stage.router.published(Slot.CANDIDATE)) == 1
    found = stage.shop.world.need(SERVICE, "shop-candidate")
    assert (
        found["spec"]["ports"][0] | {"name": "http", "port": 80, "targetPort": 8080}
        == found["spec"]["ports"][0]
    )
    stage.router.publish(Slot.CANDIDATE, [], stage.lease)
    assert stage.shop.world.read(SERVICE, "shop-candidate") is None


def test_somebody_elses_service_of_a_slots_name_is_refused(stage: Stage) -> None:
    spec = {"selector": {"app": "other"}, "ports": [{"port": 80}]}
    made = stage.shop.world.create(SERVICE, {"metadata": {"name": "shop-green"}, "spec": spec})
    with pytest.raises(InputError, match=r"router\.service: .*Service/.*/shop-green"):
        stage.router.check()
    stage.shop.deploy(Slot.GREEN)
    with pytest.raises(InputError, match=r"router\.service"):
        stage.router.publish(Slot.GREEN, stage.router.published(Slot.GREEN), stage.lease)
    assert stage.shop.world.need(SERVICE, "shop-green") == made


def test_two_objects_that_lead_here_are_refused_and_one_can_be_named(stage: Stage) -> None:
    other = replace(
        stage.route,
        spec=stage.route.spec | {"hosts": ["elsewhere"]} if "hosts" in stage.route.spec else stage.route.spec,
    )
    other.create(stage.shop.world, "other")
    kind, where = stage.route.kind, stage.shop.namespace
    with pytest.raises(InputError, match=f"{kind}/{where}/other, {kind}/{where}/shop"):
        stage.router.check()
    key = stage.router.field.removeprefix("router.")
    opened(stage.shop, dict(stage.route.router) | {key: "shop"}, **stage.route.parts).check()


def test_no_object_that_leads_here_is_refused(stage: Stage) -> None:
    stage.shop.world.delete(stage.route.kind, "shop")
    with pytest.raises(
        InputError, match=rf"{stage.router.field}: found None, expected one .*{stage.route.kind}"
    ):
        stage.router.check()


def test_what_a_release_will_change_is_shown_and_not_done(stage: Stage) -> None:
    change, *more = stage.router.changes()
    assert change.subject == f"{stage.route.kind}/{stage.shop.namespace}/shop"
    assert "shop-candidate" in "".join(one.diff for one in (change, *more))
    assert stage.now == stage.original
