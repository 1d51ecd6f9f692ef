"""How a release begins, and what is refused before it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.domain.errors import ConflictError, DavyError, InputError, TransientError, UnhealthyError
from tasks.domain.model import Health, Outcome, Revision, Slot, Split, Traffic
from tasks.journal import journal_of, read_lease, take
from tasks.opening import find_stable, open_release, preflight, promoted_last
from tasks.record import Opening, Record
from tasks.turns import refuse_second
from tests.rig.fakes import make_service
from tests.rig.world import World


def past(release: str, version: str, outcome: Outcome | None, *, stable: str | None = "v0") -> None:
    """A release of the past, or one under way."""
    revision = Revision("shop", Slot.BLUE, stable) if stable else None
    journal = journal_of("shop", release)
    journal.append("opened", **Opening("canary", make_service("canary"), version, revision, 3).to_json())
    if outcome:
        journal.append("ended", outcome=outcome, message="")


def lease_is_free() -> bool:
    state = read_lease("shop")
    return state is None or not state.alive


def test_a_release_freezes_file_version_and_world_in_its_first_line(world: World) -> None:
    del world
    service = make_service("canary")
    carrier = open_release("r1", "canary", service, "v2")
    opening = Record.read(journal_of("shop", "r1")).opening
    assert opening == Opening("canary", service, "v2", Revision("shop", Slot.BLUE, "v1"), 3)
    assert carrier.lease.epoch == carrier.record.lines[0].epoch == 1
    carrier.lease.check()
    carrier.let_go()


@pytest.mark.parametrize("version", ["", " ", "1 0", "1\n0", "1\x00"])
def test_an_odd_version_is_refused_and_nothing_is_left_behind(world: World, version: str) -> None:
    before = world.end_state()
    with pytest.raises(InputError, match="version: found"):
        open_release("r1", "canary", make_service("canary"), version)
    assert lease_is_free()
    assert not journal_of("shop", "r1").exists()
    assert world.end_state() == before


def test_the_version_that_is_stable_already_is_refused(world: World) -> None:
    del world
    with pytest.raises(InputError, match="version: found 'v1', expected a version other than the stable one"):
        preflight(make_service("canary"), "v1")


def test_a_second_release_is_refused_and_the_first_one_is_named(world: World) -> None:
    del world
    past("r1", "v2", None)
    for attempt in (lambda: preflight(make_service("canary"), "v3"), lambda: refuse_second("shop")):
        with pytest.raises(ConflictError, match=r"found release r1 of v2 under way.*davy abort shop"):
            attempt()
    with pytest.raises(ConflictError):
        open_release("r2", "canary", make_service("canary"), "v3")
    assert lease_is_free()


def test_a_frozen_release_is_taken_back_before_the_next_one(world: World) -> None:
    del world
    past("r1", "v2", Outcome.FROZEN)
    with pytest.raises(ConflictError, match=r"found release r1 frozen.*davy abort shop"):
        refuse_second("shop")
    journal_of("shop", "r1").append("thawed")
    refuse_second("shop")


def test_a_release_waits_while_the_last_one_is_cleared_away(world: World) -> None:
    del world
    past("r0", "v1", Outcome.PROMOTED)
    lease = take("shop", "r0")
    import threading  # noqa: PLC0415 - only here

    threading.Timer(0.5, lease.release_now).start()
    carrier = open_release("r1", "canary", make_service("canary"), "v2")
    assert carrier.lease.epoch == 2
    carrier.let_go()


def test_a_lease_that_another_release_holds_is_not_waited_for(world: World) -> None:
    del world
    lease = take("shop", "unknown")
    with pytest.raises(ConflictError, match="release 'unknown' holds the lease"):
        open_release("r1", "canary", make_service("canary"), "v2")
    lease.release_now()


def test_stable_is_what_has_all_traffic_and_is_routed_to(world: World) -> None:
    assert find_stable(make_service("canary")) == (Revision("shop", Slot.BLUE, "v1"), 3)
    world.start(Revision("shop", Slot.BLUE, "v0"), 1)
    world.start(Revision("shop", Slot.GREEN, "v2"), 1)
    assert find_stable(make_service("canary")) == (Revision("shop", Slot.BLUE, "v1"), 3)


def test_a_service_without_traffic_has_no_stable_version(world: World) -> None:
    world.traffic = None
    assert find_stable(make_service("canary", replicas=5)) == (None, 5)


def test_a_live_split_of_somebody_else_is_refused(world: World) -> None:
    world.traffic = Traffic(Split({Slot.BLUE: 9000, Slot.GREEN: 1000}))
    with pytest.raises(ConflictError, match="blue 90%, green 10%"):
        preflight(make_service("canary"), "v2")


def test_traffic_that_goes_to_nothing_is_refused(world: World) -> None:
    world.running.clear()
    with pytest.raises(UnhealthyError, match="found no replica in blue"):
        preflight(make_service("canary"), "v2")


def test_a_failure_while_opening_gives_the_lease_back(world: World) -> None:
    world.fail_at = world.changes + 1
    with pytest.raises(TransientError):
        open_release("r1", "canary", make_service("canary"), "v2")
    assert lease_is_free()
    assert not journal_of("shop", "r1").exists()
    assert all(replica.health is Health.HEALTHY for found in world.running.values() for replica in found)


def test_a_rollback_goes_to_the_version_before_the_last_promoted_one(world: World) -> None:
    del world
    past("r0", "v0", Outcome.PROMOTED, stable=None)
    with pytest.raises(InputError, match="a promoted release"):
        promoted_last("shop")
    past("r1", "v1", Outcome.PROMOTED, stable="v0")
    past("r2", "v2", Outcome.ROLLED_BACK, stable="v1")
    past("r3", "v3", Outcome.TRIED, stable="v1")
    last = promoted_last("shop")
    assert (last.version, last.stable) == ("v1", Revision("shop", Slot.BLUE, "v0"))


def test_a_service_that_was_never_released_has_nothing_to_go_back_to(home: Path) -> None:
    del home
    with pytest.raises(DavyError, match="service: found 'shop'"):
        promoted_last("shop")
