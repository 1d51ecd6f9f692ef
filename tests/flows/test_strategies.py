"""Each strategy: who gets how much, on how many replicas, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.watcher import Watched
from tasks.domain.model import Finding, Outcome, Result, Revision, Slot, Split, Verdict
from tasks.domain.spec import Rolling
from tasks.journal import journal_of
from tasks.record import Record
from tests.rig.bare import run, without_engine
from tests.rig.fakes import make_service, make_world
from tests.rig.world import Moment, World, shares_of, unserved

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


def at(world: World, what: str) -> Moment:
    return next(moment for moment in world.history if moment.what.startswith(what))


def split(**shares: float) -> Split:
    """By slot, in percent."""
    return Split({Slot(slot): round(share * 100) for slot, share in shares.items()})


def test_a_canary_widens_beside_a_baseline_and_then_takes_everything(world: World) -> None:
    assert run(make_service("canary")).name == Outcome.PROMOTED
    assert shares_of(world.history) == [
        STABLE,
        split(blue=90, candidate=5, baseline=5),
        split(blue=50, candidate=25, baseline=25),
        split(blue=50, candidate=50),
        split(green=100),
    ]
    assert at(world, "write baseline 5%").running == {
        Revision("shop", Slot.BLUE, "v1"): 4,
        Revision("shop", Slot.CANDIDATE, "v2"): 1,
        Revision("shop", Slot.BASELINE, "v1"): 1,
    }
    assert at(world, "write blue 50%, candidate 50%").running[Revision("shop", Slot.CANDIDATE, "v2")] == 2
    assert at(world, "write green 100%").running[Revision("shop", Slot.GREEN, "v2")] == 4
    clear_away()
    assert running(world) == {"green@v2": 4}
    assert unserved(world.history) == []


def test_a_canary_that_only_tries_puts_everything_back(world: World) -> None:
    before = world.end_state()
    assert run(make_service("canary", promote=False)).name == Outcome.TRIED
    assert shares_of(world.history)[-2:] == [split(blue=50, candidate=50), STABLE]
    clear_away()
    assert world.end_state() == before


def test_a_canary_without_baseline_compares_with_stable(world: World) -> None:
    run(make_service("canary", baseline=False))
    assert shares_of(world.history)[1] == split(blue=95, candidate=5)
    assert not any(revision.slot is Slot.BASELINE for moment in world.history for revision in moment.running)


def test_blue_green_switches_everything_at_once(world: World) -> None:
    assert run(make_service("blue-green")).name == Outcome.PROMOTED
    assert shares_of(world.history) == [STABLE, split(green=100)]
    assert running(world) == {"blue@v1": 4, "green@v2": 4}
    clear_away()
    assert running(world) == {"green@v2": 4}


def test_a_trickle_is_judged_before_everything_moves(world: World) -> None:
    assert run(make_service("blue-green-canary")).name == Outcome.PROMOTED
    assert shares_of(world.history) == [STABLE, split(blue=95, green=5), split(green=100)]
    assert at(world, "write blue 95%").running[Revision("shop", Slot.GREEN, "v2")] == 4


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"max_surge": 0, "max_unavailable": 1},
        {"max_surge": 0, "max_unavailable": "50%"},
        {"max_surge": "100%"},
    ],
    ids=str,
)
def test_rolling_keeps_its_promises_at_every_moment(
    home: Path, monkeypatch: pytest.MonkeyPatch, replicas: int, bounds: dict[str, Any]
) -> None:
    del home
    if replicas == 1 and bounds.get("max_surge") == 0:
        with pytest.raises(ValueError, match="replica"):
            make_service("rolling", replicas=1, **bounds)
        return
    without_engine(monkeypatch)
    world = make_world(monkeypatch)
    world.have_stable(replicas)
    service = make_service("rolling", replicas=replicas, **bounds)
    assert isinstance(service, Rolling)
    surge, unavailable = service.bounds(replicas)
    assert run(service).name == Outcome.PROMOTED
    assert unserved(world.history) == []
    assert min(sum(moment.serving.values()) for moment in world.history) >= replicas - unavailable
    assert max(sum(moment.running.values()) for moment in world.history) <= replicas + surge
    assert running(world) == {"green@v2": replicas}
    overloaded = [
        (moment.what, str(moment.split), moment.serving)
        for moment in world.history
        if moment.split
        for slot, serving in moment.serving.items()
        if moment.split[slot] > 10_000 * serving / (replicas - unavailable) + 1
    ]
    assert overloaded == [], "no replica gets more than its part"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_bad_version_goes_back_from_its_first_share(world: World, strategy: str) -> None:
    before = world.end_state()
    world.errors["v2"] = 0.5
    state = run(make_service(strategy))
    assert state.name == Outcome.ROLLED_BACK
    assert state.message
    assert "error_rate of" in state.message
    assert "at most 1 % allowed" in state.message
    shares = shares_of(world.history)
    assert len(shares) == 3
    assert (shares[0], shares[2]) == (STABLE, STABLE)
    clear_away()
    assert world.end_state() == before
    assert unserved(world.history) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_version_that_never_gets_healthy_gets_no_share(world: World, strategy: str) -> None:
    before = world.end_state()
    world.sick.add("v2")
    state = run(make_service(strategy))
    assert state.name == Outcome.ROLLED_BACK
    assert shares_of(world.history) == [STABLE]
    clear_away()
    assert world.end_state() == before


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_data_is_never_a_pass(world: World, strategy: str) -> None:
    world.silent = True
    state = run(make_service(strategy))
    assert state.name == Outcome.ROLLED_BACK
    assert "inconclusive" in (state.message or "")
    bakes = [line.key for line in record().all("outcome") if line.key.startswith("bake-")]
    assert len(bakes) == 2, "extended once"
    assert shares_of(world.history)[-1] == STABLE


@pytest.mark.parametrize(("score", "outcome"), [(100, Outcome.PROMOTED), (50, Outcome.ROLLED_BACK)])
def test_a_canary_config_judges_within_a_step_and_ends_it_at_once_where_that_fails(
    world: World, monkeypatch: pytest.MonkeyPatch, score: float, outcome: Outcome
) -> None:
    def judged(*_: object) -> Verdict:
        finding = Finding(
            "canary score", "candidate", Result.PASS if score > 75 else Result.FAIL, score, "so"
        )
        return Verdict(finding.result, (finding,))

    monkeypatch.setattr("tasks.analysis.query_canary.fn", lambda *_: None)
    monkeypatch.setattr("tasks.analysis.judge_queried", judged)
    canary = {"config": {}, "url": "http://127.0.0.1:9", "step": "1ms", "interval": "2ms"}
    service = make_service("canary", steps=[{"share": 5, "bake": "5ms"}], analysis={"canary": canary})
    assert run(service).name == outcome
    parts = [line.key for line in record().all("outcome") if line.key.startswith("judge-")]
    expected = ["judge-candidate-5%-after-0:00:00.002000", "judge-candidate-5%-after-0:00:00.004000"]
    assert parts == (expected if outcome is Outcome.PROMOTED else expected[:1])
    assert world.traffic


def test_a_bake_ends_early_once_the_version_is_proven_no_worse(world: World) -> None:
    def prove(what: str) -> None:
        if what == "journal intent bake-candidate-5%-1":
            journal_of("shop", "r1").append("same", reason="", evidence={})

    world.on_change = prove
    steps = [{"share": 5, "bake": "10m"}]
    assert run(make_service("canary", steps=steps)).name == Outcome.PROMOTED


def test_a_failing_hook_before_keeps_users_away(world: World) -> None:
    state = run(make_service("canary", hooks={"before": ["false"]}))
    assert state.name == Outcome.ROLLED_BACK
    assert "hook 'false': exit code 1" in (state.message or "")
    assert shares_of(world.history) == [STABLE]


def test_hooks_know_what_is_released(world: World, tmp_path: Path) -> None:
    del world
    said = tmp_path / "said"
    command = f"sh -c 'echo $DAVY_SERVICE $DAVY_STABLE $DAVY_VERSION $DAVY_RELEASE >> {said}'"
    run(make_service("canary", hooks={"before": [command], "after": [command]}))
    assert said.read_text() == "shop v1 v2 r1\n" * 2


def test_a_failing_version_is_left_where_it_is_when_the_file_says_freeze(world: World) -> None:
    world.errors["v2"] = 1.0
    service = make_service("canary", on_failure="freeze")
    state = run(service)
    assert state.name == Outcome.FROZEN
    assert shares_of(world.history)[-1] == split(blue=90, candidate=5, baseline=5)
    with pytest.raises(Exception, match="found release r1 frozen"):
        run(service, "v3", "r2")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_first_version_comes_without_steps(
    home: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    del home
    without_engine(monkeypatch)
    world = make_world(monkeypatch)
    assert run(make_service(strategy, replicas=3)).name == Outcome.PROMOTED
    assert shares_of(world.history) == [STABLE]
    assert running(world) == {"blue@v2": 3}


def test_a_first_version_that_is_sick_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del home
    without_engine(monkeypatch)
    world = make_world(monkeypatch)
    world.sick.add("v2")
    assert run(make_service("canary")).name == Outcome.ROLLED_BACK
    assert world.traffic is None
    clear_away()
    assert running(world) == {}
    assert run(make_service("canary"), "v3", "r2").name == Outcome.PROMOTED


def test_testers_and_copies_reach_the_candidate_before_users_do(world: World) -> None:
    looked: dict[str, Any] = {
        "matches": [{"header": "x-tester", "value": "1"}],
        "mirror": {"share": 50, "bake": "1ms"},
    }
    assert run(make_service("canary", **looked)).name == Outcome.PROMOTED
    first = record().all("asked")[0].data
    assert first["split"] == {"blue": 10_000}
    assert (first["matched"], first["mirror"], first["mirror_share"]) == ("candidate", "candidate", 5000)
    later = record().all("asked")[1].data
    assert (later["matched"], later["mirror"]) == ("candidate", None)
    assert unserved(world.history) == []
    assert record().all("asked")[-1].data["matched"] is None


def test_copies_that_fail_keep_users_away(world: World) -> None:
    world.errors["v2"] = 1.0
    assert run(make_service("canary", mirror={"bake": "1ms"})).name == Outcome.ROLLED_BACK
    assert shares_of(world.history) == [STABLE]
