"""The watcher guards: what is bad is taken back with the evidence, and nothing else is."""

from __future__ import annotations

import time

import pytest

from deployments.watcher import Watched
from tasks.domain.model import Health, Outcome, Result, Revision, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.guard import Guard
from tasks.journal import journal_of
from tasks.judge.comparisons import compare_again
from tasks.opening import open_release
from tests.deployments import watched_release
from tests.deployments.watched_release import CANDIDATE, all_on_stable, look, record, under_way
from tests.rig.fakes import make_service
from tests.rig.world import World

world = watched_release.world


def limits(**more: object) -> ServiceFile:
    return make_service("canary", analysis={"limits": {"error_rate": {"max": 1.0} | more}, "compare": {}})


def test_a_good_candidate_is_left_alone(world: World) -> None:
    carrier = under_way()
    changes = world.changes
    assert look().reverting is None
    assert world.changes == changes
    carrier.check()
    carrier.let_go()


def test_a_bad_candidate_is_taken_back_from_its_flow_at_once_with_the_evidence(world: World) -> None:
    carrier = under_way()
    world.errors["v2"] = 0.5
    found = look()
    assert found.outcome is Outcome.ROLLED_BACK
    assert found.reverting
    assert found.reverting.data["by"] == "guard"
    assert "error_rate of candidate was 50 %" in found.reverting.data["reason"]
    (check,) = found.all("check")
    assert check.data["failed"] == ["error_rate", "error_rate against blue"]
    again = compare_again(check.data["evidence"])
    assert again.evidence["comparisons"] == check.data["evidence"]["comparisons"]
    assert again.result is Result.FAIL
    assert check.data["evidence"]["limits"][0]["frame"]["slots"]["candidate"]["errors"]
    assert all_on_stable(world)
    with pytest.raises(Exception, match="expected to hold epoch"):
        carrier.lease.check()


@pytest.mark.parametrize("early", [False, True])
def test_a_proof_that_nothing_is_worse_is_written_once_where_it_may_end_a_bake(
    world: World, *, early: bool
) -> None:
    compare = {"error_rate": {"tolerance": 100, "floor": 1}}
    analysis = {"compare": compare, "early_pass": early, "interval": "1ms"}
    carrier = under_way(make_service("canary", analysis=analysis))
    watched = Watched(journal_of("shop", "r1"))
    for _ in range(3):
        watched.look_once()
        time.sleep(0.002)
    assert len(record().all("same")) == int(early)
    assert record().proven_same is early
    carrier.send(Traffic(Split({Slot.BLUE: 4000, Slot.CANDIDATE: 6000})))
    assert not record().proven_same  # a new share needs a new proof
    assert world.traffic
    carrier.let_go()


def test_a_comparison_that_fails_leaves_limits_in_force(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr("tasks.judge.comparisons.Comparing.feed", broken)
    under_way()
    fine = Guard().check(record())
    assert fine.result is Result.INCONCLUSIVE  # never a pass
    assert "the comparison with blue failed" in fine.reason
    world.errors["v2"] = 0.5
    assert look().outcome is Outcome.ROLLED_BACK


def test_testers_requests_are_guarded_where_no_step_of_the_plan_compares(world: World) -> None:
    matches = [{"header": "x-tester", "value": "yes"}]
    carrier = open_release("r1", "blue-green", make_service("blue-green", matches=matches), "v2")
    green = Revision("shop", Slot.GREEN, "v2")
    carrier.fleet.deploy(green, 3, carrier.lease)
    carrier.publish(green)
    carrier.send(carrier.release.between(Split.all_to(Slot.BLUE), Slot.GREEN))
    guard = Guard()
    assert guard.check(record()).result is Result.INCONCLUSIVE
    assert guard._comparing is not None
    assert world.traffic
    carrier.let_go()


def test_a_replica_that_is_down_counts_even_before_it_is_back(world: World) -> None:
    under_way()
    dead = world.running[CANDIDATE][0]
    world.running[CANDIDATE][0] = type(dead)(dead.revision, dead.number, dead.host, dead.port, Health.DOWN)
    found = look()
    assert found.outcome is Outcome.ROLLED_BACK
    assert found.reverting
    assert "restarts of candidate" in found.reverting.data["reason"]


def test_a_baseline_that_fails_is_not_held_against_the_candidate(world: World) -> None:
    carrier = under_way()
    world.start(Revision("shop", Slot.BASELINE, "v1"), 1)
    world.errors["v1"] = 1.0
    carrier.write("asked", **record().all("asked")[-1].data)
    carrier.write("live", split={})
    assert look().reverting is None
    carrier.let_go()


def test_a_budget_of_failed_checks_counts_across_a_watcher_that_was_restarted(world: World) -> None:
    under_way(limits(failures=2))
    world.errors["v2"] = 0.5
    assert look().reverting is None
    assert look().reverting is None
    assert [line.data["failed"] for line in record().all("check")] == [["error_rate"]] * 2
    assert look().outcome is Outcome.ROLLED_BACK


def test_each_step_has_a_budget_of_its_own(world: World) -> None:
    carrier = under_way(limits(failures=1))
    world.errors["v2"] = 0.5
    look()
    carrier.send(Traffic(Split({Slot.BLUE: 4000, Slot.CANDIDATE: 6000})))
    assert look().reverting is None
    assert look().outcome is Outcome.ROLLED_BACK


def test_nothing_is_judged_before_the_split_is_live_or_after_users_left(world: World) -> None:
    carrier = under_way()
    world.errors["v2"] = 1.0
    carrier.write("asked", **record().all("asked")[-1].data)
    assert Guard().check(record()).result is Result.INCONCLUSIVE
    assert look().reverting is None
    carrier.send(Traffic(Split.all_to(Slot.BLUE)))
    assert look().reverting is None
    carrier.let_go()


def test_too_few_requests_are_no_reason_to_go_back_and_no_pass(world: World) -> None:
    carrier = under_way(limits())
    world.silent = True
    assert Guard().check(record()).result is Result.INCONCLUSIVE
    assert look().reverting is None
    carrier.let_go()
