"""The way back: traffic to stable first, by anybody who can take the lease, as often as it takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks.domain.errors import ConflictError, LeaseLostError, TransientError, UnhealthyError
from tasks.domain.model import Health, Outcome, Revision, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of, read_lease
from tasks.opening import open_release
from tasks.record import Record
from tasks.release import Carrier
from tasks.restore import restore, take_back
from tests.rig.fakes import make_service
from tests.rig.world import Died, World, unserved

CANDIDATE = Revision("shop", Slot.CANDIDATE, "v2")


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("tasks.restore.PAUSE", 0.01)
    return world


def under_way(service: ServiceFile | None = None) -> Carrier:
    """A release whose candidate has half of the requests."""
    service = service or make_service(
        "canary", fleet={"command": "serve", "health": {"ready_within": "100ms"}}
    )
    carrier = open_release("r1", "canary", service, "v2")
    carrier.fleet.deploy(CANDIDATE, 2, carrier.lease)
    carrier.publish(CANDIDATE)
    carrier.send(Traffic(Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})))
    return carrier


def back(by: str = "watcher", outcome: Outcome = Outcome.ROLLED_BACK) -> Outcome | None:
    return take_back(journal_of("shop", "r1"), reason="because", outcome=outcome, by=by)


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def all_on_stable(world: World) -> bool:
    return world.traffic is not None and world.traffic.split == Split.all_to(Slot.BLUE)


def test_traffic_goes_back_before_anything_is_retired(world: World) -> None:
    carrier = under_way()
    assert restore(carrier, reason="bad", outcome=Outcome.ROLLED_BACK, by="flow") is Outcome.ROLLED_BACK
    assert all_on_stable(world)
    assert len(world.running[CANDIDATE]) == 2, "kept for a look; the watcher retires it"
    assert [revision for revision, _ in record().due] == [CANDIDATE]
    kinds = [line.kind for line in record().lines]
    assert kinds.index("reverting") < len(kinds) - kinds[::-1].index("asked") < kinds.index("due")
    ended = record().ended
    assert ended
    assert ended.data["message"] == "bad"
    state = read_lease("shop")
    assert state
    assert state.released


def test_matches_mirror_and_affinity_end_with_the_way_back(world: World) -> None:
    carrier = under_way()
    assert world.traffic
    world.traffic = Traffic(world.traffic.split, matched=Slot.CANDIDATE, affinity="davy")
    restore(carrier, reason="bad", outcome=Outcome.ROLLED_BACK, by="flow")
    assert world.traffic == Traffic(Split.all_to(Slot.BLUE))


def test_the_delay_counts_from_detection(world: World) -> None:
    del world
    carrier = under_way(make_service("canary", abort_scale_down_delay="30s"))
    restore(carrier, reason="bad", outcome=Outcome.ROLLED_BACK, by="flow")
    reverting = record().reverting
    assert reverting
    assert {(when - reverting.at).total_seconds() for _, when in record().due} == {30.0}


def test_a_release_is_taken_back_from_a_carrier_that_is_alive_but_frozen(world: World) -> None:
    frozen = under_way()
    assert back("guard") is Outcome.ROLLED_BACK
    assert all_on_stable(world)
    with pytest.raises(LeaseLostError):
        frozen.check()
    with pytest.raises(LeaseLostError):
        frozen.send(Traffic(Split.all_to(Slot.CANDIDATE)))
    with pytest.raises(LeaseLostError):
        frozen.fleet.deploy(CANDIDATE, 5, frozen.lease)
    frozen.end(Outcome.PROMOTED, "I was first")
    assert record().outcome is Outcome.ROLLED_BACK
    assert all_on_stable(world)


def test_calling_again_is_harmless(world: World) -> None:
    under_way()
    assert back() is Outcome.ROLLED_BACK
    changes, lines = world.changes, len(record().lines)
    assert back(outcome=Outcome.ABORTED) is Outcome.ROLLED_BACK
    assert (world.changes, len(record().lines)) == (changes, lines)


def test_the_first_word_stays(world: World) -> None:
    carrier = under_way()
    world.fail_at, world.failures = world.changes + 2, 10_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.restore.PATIENCE", timedelta(0))
        with pytest.raises(TransientError):
            restore(carrier, reason="too many errors", outcome=Outcome.ROLLED_BACK, by="guard")
    world.fail_at = 0
    carrier.let_go()
    assert back("Ada", Outcome.ABORTED) is Outcome.ROLLED_BACK
    ended = record().ended
    assert ended
    assert ended.data == {"outcome": "RolledBack", "message": "too many errors"}


def test_a_proxy_that_is_away_for_a_moment_is_asked_again(world: World) -> None:
    carrier = under_way()
    world.on_change = lambda what: _go_away(world) if what.startswith("journal reverting") else None
    assert restore(carrier, reason="bad", outcome=Outcome.ROLLED_BACK, by="flow") is Outcome.ROLLED_BACK
    assert all_on_stable(world)


def _go_away(world: World) -> None:
    """The router answers again at the fourth request; journal lines are counted too."""
    world.on_change = lambda _what: None
    original = world.change
    left = [3]

    def change(what: str, *apply: object) -> None:
        if what.startswith("write") and left[0]:
            left[0] -= 1
            msg = "router: away"
            raise TransientError(msg)
        original(what, *apply)  # type: ignore[arg-type]  # as given

    world.change = change  # type: ignore[method-assign, assignment]  # the proxy is away


def test_a_carrier_that_is_at_it_is_left_alone(world: World) -> None:
    carrier = under_way()
    carrier.write("reverting", reason="mine", outcome=Outcome.ROLLED_BACK, by="flow")
    changes = world.changes
    assert back() is None
    assert world.changes == changes
    carrier.lease.check()
    carrier.let_go()
    assert back() is Outcome.ROLLED_BACK


def test_a_release_that_ends_well_at_the_last_moment_is_not_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = under_way()
    resume = Carrier.resume

    def too_late(*args: object, **kwargs: object) -> Carrier:
        carrier.end(Outcome.PROMOTED, "well")
        return resume(*args, **kwargs)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(Carrier, "resume", too_late)
    assert back("guard") is Outcome.PROMOTED
    assert not all_on_stable(world)
    assert record().reverting is None


def test_stable_is_brought_back_whole_where_it_was_shrunk(world: World) -> None:
    carrier = under_way(make_service("rolling"))
    for number in (3, 2):
        world.stop(carrier.release.old, number)
    world.published[Slot.BLUE] = (world.running[carrier.release.old][0].address,)
    assert back() is Outcome.ROLLED_BACK
    assert len(world.healthy_in(Slot.BLUE)) == 3
    assert unserved(world.history) == []


def test_healthy_replicas_that_nobody_routes_to_are_routed_to_first(world: World) -> None:
    under_way(make_service("rolling"))
    world.published[Slot.BLUE] = ()
    before = len(world.history)
    assert back() is Outcome.ROLLED_BACK
    assert len(world.healthy_in(Slot.BLUE)) == 3
    done = [moment.what for moment in world.history[before:]]
    assert done.index("publish blue 3") < done.index("write blue 100%")


def test_a_part_of_stable_is_enough_to_go_back_to(world: World) -> None:
    carrier = under_way()
    broken = world.running[carrier.release.old][0]
    world.running[carrier.release.old][0] = type(broken)(
        broken.revision, broken.number, broken.host, broken.port, Health.UNHEALTHY
    )
    assert back() is Outcome.ROLLED_BACK
    assert all_on_stable(world)


def test_without_one_healthy_stable_replica_traffic_stays_where_it_is(world: World) -> None:
    carrier = under_way()
    world.sick.add("v1")
    world.running[carrier.release.old] = []
    with pytest.raises(UnhealthyError, match="found no healthy replica"):
        back()
    assert not all_on_stable(world)
    assert record().ended is None
    world.sick.clear()
    world.running[carrier.release.old] = []
    assert back() is Outcome.ROLLED_BACK
    assert all_on_stable(world)


@pytest.mark.parametrize("frozen_at", [Outcome.ROLLED_BACK, Outcome.FAILED])
def test_freeze_leaves_everything_and_a_person_thaws_it(world: World, frozen_at: Outcome) -> None:
    under_way(make_service("canary", on_failure="freeze"))
    before = world.end_state()
    assert back(outcome=frozen_at) is Outcome.FROZEN
    assert world.end_state() == before
    assert record().frozen
    assert back("Ada", Outcome.ABORTED) is Outcome.ABORTED
    assert all_on_stable(world)
    assert [revision for revision, _ in record().due] == [CANDIDATE]
    assert not record().frozen


def test_an_abort_goes_back_even_where_failures_freeze(world: World) -> None:
    under_way(make_service("canary", on_failure="freeze"))
    assert back("Ada", Outcome.ABORTED) is Outcome.ABORTED
    assert all_on_stable(world)


def test_a_thaw_that_was_killed_can_be_repeated_at_every_point(world: World) -> None:
    under_way(make_service("canary", on_failure="freeze"))
    back()
    for number in range(1, 50):
        world.die_at = world.changes + number
        try:
            back("Ada", Outcome.ABORTED)
        except Died:
            world.revive()
            if number == 1:
                assert record().frozen
        else:
            break
    assert all_on_stable(world)
    assert not record().frozen


def test_a_lease_that_could_not_be_used_is_given_back(world: World) -> None:
    under_way().let_go()
    world.fail_at = world.changes + 1
    with pytest.raises(TransientError):
        Carrier.resume(journal_of("shop", "r1"), by="watcher")
    state = read_lease("shop")
    assert state
    assert not state.alive


def test_who_is_taken_over_twice_at_once_gives_way(world: World) -> None:
    del world
    under_way()
    with pytest.raises(ConflictError):
        Carrier.resume(journal_of("shop", "r1"), by="another flow")
    assert back() is Outcome.ROLLED_BACK
