"""One release after the other: rollbacks, what is left behind, what is gone on with."""

from __future__ import annotations

import pytest

from deployments.watcher import Watched
from flows.rollback import rollback
from tasks.domain.errors import InputError
from tasks.domain.model import Outcome, Revision, Slot, Split
from tasks.journal import journal_of
from tasks.record import Record
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.world import Died, World, shares_of, unserved

STRATEGIES = ["rolling", "blue-green", "canary", "blue-green-canary"]
STABLE = Split.all_to(Slot.BLUE)


def record(release: str = "r1") -> Record:
    return Record.read(journal_of("shop", release))


def running(world: World) -> dict[str, int]:
    """Replicas by slot and version."""
    return {f"{r.slot}@{r.version}": len(found) for r, found in sorted(world.running.items())}


def clear_away(release: str = "r1") -> None:
    """What the watcher does once the delays are over."""
    watched = Watched(journal_of("shop", release))
    for _ in range(3):
        watched.look_once()
    assert watched.closed


@pytest.mark.parametrize("cleared", [False, True])
def test_a_rollback_is_one_switch_where_the_old_version_still_runs(world: World, *, cleared: bool) -> None:
    run(make_service("blue-green", scale_down_delay="1h"))
    if cleared:
        for replica in list(world.running.pop(Revision("shop", Slot.BLUE, "v1"))):
            assert replica.number
        journal_of("shop", "r1").append("retired", slot="blue", version="v1")
    before = len(world.history)
    assert rollback.fn("shop", "back").name == Outcome.PROMOTED
    started = [moment.what for moment in world.history[before:] if moment.what.startswith("start")]
    assert len(started) == (4 if cleared else 0)
    assert world.traffic
    assert world.traffic.split == STABLE
    assert record("r1").closed, "the old version is nobody's to retire any more"
    clear_away("back")
    assert running(world) == {"blue@v1": 4}
    assert unserved(world.history) == []


def test_a_rollback_begun_again_after_its_end_gives_back_its_end_and_touches_nothing(world: World) -> None:
    run(make_service("blue-green", scale_down_delay="1h"))
    rollback.fn("shop", "back")
    before = len(world.history)
    again = rollback.fn("shop", "back")
    assert (again.name, again.message) == (Outcome.PROMOTED, "shop Promoted: v1")
    assert world.history[before:] == []


def test_releases_follow_each_other_and_colours_take_turns(world: World) -> None:
    for number, strategy in enumerate(STRATEGIES, start=2):
        assert run(make_service(strategy), f"v{number}", f"r{number}").name == Outcome.PROMOTED
    clear_away("r5")
    assert running(world) == {"blue@v5": 4}
    assert unserved(world.history) == []


def test_what_the_last_release_left_is_cleared_away_by_the_next(world: World) -> None:
    world.errors["v2"] = 1.0
    run(make_service("blue-green", abort_scale_down_delay="1h"))
    assert running(world) == {"blue@v1": 4, "green@v2": 4}
    assert run(make_service("blue-green"), "v3", "r2").name == Outcome.PROMOTED
    assert running(world) == {"blue@v1": 4, "green@v3": 4}
    assert record("r1").closed


def test_a_release_that_has_ended_gives_back_its_end_and_touches_nothing(world: World) -> None:
    run(make_service("canary"))
    changes = world.changes
    assert run(make_service("canary")).name == Outcome.PROMOTED
    assert world.changes == changes


def test_an_id_that_was_used_for_another_version_is_refused(world: World) -> None:
    del world
    run(make_service("canary"))
    with pytest.raises(InputError, match="release: found 'r1'"):
        run(make_service("canary"), "v3", "r1")


def test_a_split_that_somebody_else_changed_is_named_and_taken_back(world: World) -> None:
    service = make_service("canary")
    _die_at(world, "journal intent analyse-candidate-5%")
    with pytest.raises(Died):
        run(service)
    world.revive()
    assert world.traffic
    world.traffic = type(world.traffic)(split(blue=20, candidate=80))
    state = run(service)
    assert state.name == Outcome.ROLLED_BACK
    assert "live requests: found blue 20%, candidate 80%, expected " in (state.message or "")
    assert record().last("drift")
    assert world.traffic.split == STABLE


def test_a_verdict_that_has_grown_old_is_judged_again(world: World) -> None:
    service = make_service("canary", analysis={"verdict_ttl": "1ms"})
    _die_at(world, "journal intent provision-candidate-2")
    with pytest.raises(Died):
        run(service)
    world.revive()
    world.errors["v2"] = 1.0
    state = run(service)
    assert state.name == Outcome.ROLLED_BACK
    assert "candidate" in (state.message or "")
    assert split(blue=50, candidate=50) not in shares_of(world.history), "judged before it went on"


def split(**shares: float) -> Split:
    """By slot, in percent."""
    return Split({Slot(slot): round(share * 100) for slot, share in shares.items()})


def _die_at(world: World, what: str) -> None:
    def die(done: str) -> None:
        if done.startswith(what):
            world.dead = True

    world.on_change = die
