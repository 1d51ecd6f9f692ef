"""Two Ingresses, and carriers that die or freeze between two changes, or have lost the lease."""

from __future__ import annotations

from itertools import count

import pytest

from tasks.cluster.kinds import SERVICE
from tasks.domain.errors import LeaseLostError
from tasks.domain.model import Traffic
from tasks.journal import take
from tests.tasks.routers import ingresses
from tests.tasks.routers.crashes import DiedError, Stale, dying, meanwhile
from tests.tasks.routers.ingresses import BLUE, WAYS, Stage, to

stage = ingresses.stage


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


def test_a_newer_epoch_is_not_written_over(stage: Stage) -> None:
    stage.router.write(to(share=500), stage.lease)
    stage.lease = take("shop", "first", over=True)
    stage.opened().write(to(), stage.lease)

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
