"""The watcher: guards, takes back, and clears away, for every release there is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.watcher import Watched, Watcher, abandoned
from tasks.domain.model import Health, Outcome, Result, Revision, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.guard import Guard
from tasks.journal import journal_of, read_lease
from tasks.judge.comparisons import compare_again
from tasks.opening import open_release
from tasks.record import Record
from tasks.release import Carrier
from tests.rig.fakes import make_service, make_world
from tests.rig.world import World, expire_lease

CANDIDATE = Revision("shop", Slot.CANDIDATE, "v2")


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    del home
    made = make_world(monkeypatch)
    made.have_stable(3)
    return made


def under_way(service: ServiceFile | None = None, release: str = "r1") -> Carrier:
    """A release whose candidate has half of the requests."""
    service = service or make_service("canary", analysis={"interval": "1ms"})
    carrier = open_release(release, "canary", service, "v2")
    candidate = Revision(service.service, Slot.CANDIDATE, "v2")
    carrier.fleet.deploy(candidate, 2, carrier.lease)
    carrier.publish(candidate)
    carrier.send(Traffic(Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})))
    return carrier


def record(service: str = "shop", release: str = "r1") -> Record:
    return Record.read(journal_of(service, release))


def look() -> Record:
    """One look of a watcher that was just started."""
    Watched(journal_of("shop", "r1")).look_once()
    return record()


def limits(**more: object) -> ServiceFile:
    return make_service("canary", analysis={"limits": {"error_rate": {"max": 1.0} | more}, "compare": {}})


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_on_stable(world: World) -> bool:
    return world.traffic is not None and world.traffic.split == Split.all_to(Slot.BLUE)


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


def test_a_release_that_a_person_aborts_is_taken_back_from_its_flow(world: World) -> None:
    under_way()
    journal_of("shop", "r1").append("abort", by="Ada")
    found = look()
    assert found.outcome is Outcome.ABORTED
    assert found.ended
    assert found.ended.data["message"] == "aborted by Ada"
    assert all_on_stable(world)


def test_a_release_that_nobody_carries_on_is_taken_back(world: World) -> None:
    under_way()
    world.revive()
    assert look().outcome is Outcome.ROLLED_BACK
    assert all_on_stable(world)


def test_a_release_that_waits_to_be_resumed_is_given_its_time(world: World) -> None:
    carrier = under_way(make_service("canary", on_crash="resume", resume_within="5m"))
    world.revive()
    age(carrier, 60)
    assert not abandoned(record())
    assert look().reverting is None
    age(carrier, 301)
    assert abandoned(record())
    assert look().outcome is Outcome.ROLLED_BACK


def age(carrier: Carrier, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(carrier.lease.folder / "lease.json", (moment, moment))


def test_a_carrier_that_is_alive_is_not_abandoned(world: World) -> None:
    del world
    carrier = under_way()
    assert not abandoned(record())
    carrier.let_go()


def test_a_way_back_whose_carrier_is_gone_is_gone_on_with(world: World) -> None:
    carrier = under_way()
    carrier.write("reverting", reason="bad", outcome=Outcome.ROLLED_BACK, by="flow")
    assert look().ended is None, "its carrier is alive"
    world.revive()
    found = look()
    assert found.ended
    assert found.ended.data == {"outcome": "RolledBack", "message": "bad"}
    assert all_on_stable(world)


def test_what_is_due_is_retired_when_its_time_has_come_and_not_before(world: World) -> None:
    under_way(make_service("canary", abort_scale_down_delay="1h"))
    journal_of("shop", "r1").append("abort", by="Ada")
    look()
    watched = Watched(journal_of("shop", "r1"))
    watched.look_once()
    assert len(world.running[CANDIDATE]) == 2
    assert not watched.closed
    journal_of("shop", "r1").append("due", slot="candidate", version="v2", when="2026-01-01T00:00:00+00:00")
    watched.look_once()
    assert CANDIDATE not in world.running
    assert world.published[Slot.CANDIDATE] == ()
    assert watched.closed
    state = read_lease("shop")
    assert state
    assert not state.alive


def test_what_still_has_a_share_is_not_retired(world: World) -> None:
    carrier = under_way(make_service("canary"))
    carrier.write("due", slot="candidate", version="v2", when="2026-01-01T00:00:00+00:00")
    carrier.end(Outcome.PROMOTED, "")
    look()
    assert len(world.running[CANDIDATE]) == 2


def test_trouble_is_said_and_the_next_look_tries_again(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.watcher.AFTER_TROUBLE", 0.0)
    under_way()
    world.errors["v2"] = 1.0
    watched = Watched(journal_of("shop", "r1"))
    world.fail_at = world.changes + 1
    watched.look_once()
    assert "away, expected an answer" in caplog.text
    assert watched.is_ready
    watched.look_once()
    assert record().outcome is Outcome.ROLLED_BACK


def test_a_journal_that_was_tampered_with_does_not_stop_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = journal_of("other", "r1")
    broken.append("one")
    broken.path.write_text(broken.path.read_text().replace("one", "two"))
    under_way()
    world.errors["v2"] = 1.0
    watcher = Watcher()
    watcher.look_round()
    until(lambda: record().outcome is Outcome.ROLLED_BACK)
    until(lambda: "it was changed" in caplog.text)


def test_releases_of_one_name_are_watched_in_every_service(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = make_world(monkeypatch, "other")
    others.have_stable(3)
    under_way(release="nightly")
    under_way(make_service("canary", "other"), "nightly")
    watcher = Watcher()
    for bad in (world, others):
        bad.errors["v2"] = 1.0
    watcher.look_round()
    until(lambda: all(record(name, "nightly").outcome is Outcome.ROLLED_BACK for name in ("shop", "other")))


def test_a_release_that_is_closed_is_not_looked_at_again(world: World) -> None:
    del world
    under_way()
    journal_of("shop", "r1").append("abort", by="Ada")
    expire_lease("shop")
    watcher = Watcher()

    def closed() -> bool:
        watcher.look_round()
        return not watcher._open and bool(watcher._closed)

    until(closed)
    assert record().closed
