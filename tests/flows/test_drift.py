"""What somebody else changes in the middle of a release is seen, named, and handled as the service file says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.domain.model import Outcome, Revision, Slot, Split, Traffic
from tasks.journal import journal_of
from tasks.record import Record
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.world import World, shares_of

BAKE = "journal intent bake-candidate-5%-1"
STEPS = [{"share": 5, "bake": "300ms"}]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for drift follow each other fast."""
    monkeypatch.setattr("tasks.traffic.DRIFT", 0.01)


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def meddle_at(world: World, what: str, *, candidate: int = 8000) -> None:
    """Somebody else gives the candidate another share."""

    def meddle(done: str) -> None:
        if done == what:
            world.on_change = lambda _what: None
            world.traffic = Traffic(Split({Slot.BLUE: 10_000 - candidate, Slot.CANDIDATE: candidate}))

    world.on_change = meddle


def test_another_split_in_the_middle_of_a_bake_takes_the_release_back(world: World) -> None:
    meddle_at(world, BAKE)
    state = run(make_service("canary", steps=STEPS))
    assert state.name == Outcome.ROLLED_BACK
    assert "live requests: found blue 20%, candidate 80%, expected " in (state.message or "")
    assert shares_of(world.history)[-1] == Split.all_to(Slot.BLUE)


def test_it_is_written_once_more_where_the_file_says_so(world: World) -> None:
    meddle_at(world, BAKE)
    state = run(make_service("canary", steps=STEPS, on_drift="reassert"))
    assert state.name == Outcome.PROMOTED
    [drift] = record().all("drift")
    assert "candidate 80%" in drift.data["what"]
    asked = [line.data["split"] for line in record().all("asked") if line.at > drift.at]
    assert asked[0] == {"baseline": 500, "blue": 9000, "candidate": 500}


def test_a_bake_begins_anew_once_its_split_is_live_again(world: World) -> None:
    meddle_at(world, BAKE)
    run(make_service("canary", steps=STEPS, on_drift="reassert"))
    [drift] = record().all("drift")
    live = next(line for line in record().all("live") if line.at > drift.at)
    baked = record().result_of("bake-candidate-5%-1")
    assert baked
    assert (baked.at - live.at).total_seconds() >= 0.3


def test_another_version_in_stables_place_is_drift_too(world: World) -> None:
    def meddle(done: str) -> None:
        if done == BAKE:
            world.on_change = lambda _what: None
            old = Revision("shop", Slot.BLUE, "v1")
            world.running[old][0] = replace(world.running[old][0], revision=replace(old, version="v0"))

    world.on_change = meddle
    fleet = {"command": "serve {port}", "health": {"ready_within": "1s"}}
    state = run(make_service("canary", steps=STEPS, fleet=fleet))
    assert state.name == Outcome.ROLLED_BACK
    assert "blue: found it to run v0, expected v1" in (state.message or "")


def test_a_stable_that_has_grown_gets_a_candidate_for_its_share(world: World) -> None:
    """As an autoscaler does it in the middle of a step: the next step counts from what runs now."""

    def grow(done: str) -> None:
        if done == BAKE:
            world.on_change = lambda _what: None
            for number in range(5, 13):
                world.start(Revision("shop", Slot.BLUE, "v1"), number)

    world.on_change = grow
    steps = [{"share": 5, "bake": "1ms"}, {"share": 25, "bake": "1ms"}]
    assert run(make_service("canary", steps=steps)).name == Outcome.PROMOTED
    most = max(moment.running.get(Revision("shop", Slot.CANDIDATE, "v2"), 0) for moment in world.history)
    assert most == 3, "a quarter of twelve, not of four"
    assert world.running[Revision("shop", Slot.GREEN, "v2")][11:]
