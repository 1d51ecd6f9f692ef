"""The watcher takes back what is aborted or abandoned, and clears away, for every release there is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from deployments.watcher import Watched, Watcher, abandoned
from tasks.domain.model import Outcome, Slot
from tasks.journal import journal_of, read_lease
from tasks.release import Carrier
from tests.deployments import watched_release
from tests.deployments.watched_release import CANDIDATE, all_on_stable, look, record, under_way
from tests.rig.fakes import make_service, make_world
from tests.rig.world import World, expire_lease

world = watched_release.world


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


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
