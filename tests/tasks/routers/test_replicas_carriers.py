"""The users' Service as the route: others who write it, and carriers that die, freeze or have lost the lease."""

from __future__ import annotations

from itertools import count

import pytest

from tasks.cluster.cluster import Json
from tasks.cluster.kinds import SERVICE
from tasks.domain.errors import LeaseLostError
from tasks.domain.model import Split, Traffic
from tasks.journal import take
from tests.tasks.routers.by_hand import plain
from tests.tasks.routers.crashes import DiedError, Stale, dying, meanwhile
from tests.tasks.routers.selecting import ALL_BLUE, BLUE, CANDIDATE, Stage, to


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
    shared.shop.deploy(CANDIDATE)
    shared.write(to(500))
    shared.lease = take("shop", "first", over=True)
    shared.write(ALL_BLUE)

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
