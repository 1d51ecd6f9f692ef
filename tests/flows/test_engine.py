"""Whole releases on Prefect's real engine: states by name, retries, and a kill in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prefect import get_client

from flows.restore import way_back
from tasks.domain.model import Outcome, Slot, Split
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of
from tasks.record import Record
from tests.rig.bare import FLOWS
from tests.rig.fakes import make_service
from tests.rig.world import Died, World, unserved


@pytest.fixture
def world(prefect_world: World) -> World:
    return prefect_world


def run(service: ServiceFile) -> tuple[str, str, str]:
    """The end: the state's type, name and message."""
    state = FLOWS[service.strategy](service, "v2", "r1", return_state=True)  # type: ignore[attr-defined]
    assert state is not None
    return state.type.value, state.name, state.message or ""


def start(service: ServiceFile) -> None:
    FLOWS[service.strategy](service, "v2", "r1")  # type: ignore[attr-defined]  # each strategy's model has it


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def die_at(world: World, what: str) -> None:
    """Be killed once *what* has happened."""

    def die(done: str) -> None:
        if done.startswith(what):
            world.dead = True

    world.on_change = die


def away_at(world: World, what: str, *, times: int) -> Callable[[], int]:
    """Let the change after *what* fail *times* times; gives how often it has failed."""

    def fail(done: str) -> None:
        if done.startswith(what):
            world.on_change = lambda _what: None
            world.fail_at, world.failures = world.changes + 1, times

    world.on_change = fail
    return lambda: world.changes - world.fail_at + 1


@pytest.mark.parametrize("strategy", ["rolling", "canary"])
def test_a_good_release_completes_as_promoted(world: World, strategy: str) -> None:
    assert run(make_service(strategy, replicas=2)) == ("COMPLETED", "Promoted", "shop Promoted: v2")
    assert unserved(world.history) == []


def test_a_bad_release_fails_as_rolled_back(world: World) -> None:
    world.errors["v2"] = 1.0
    kind, name, message = run(make_service("canary", replicas=2))
    assert (kind, name) == ("FAILED", "RolledBack")
    assert "error_rate of candidate was 100 %" in message
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.BLUE)


def test_a_release_that_was_aborted_meanwhile_is_cancelled(world: World) -> None:
    service = make_service("canary", replicas=2)
    die_at(world, "journal intent bake-candidate-5%")
    with pytest.raises(Died):
        start(service)
    world.revive()
    way_back("prefect.flow-run.x", "Cancelled", {"service": service.model_dump(mode="json"), "release": "r1"})
    assert run(service)[:2] == ("CANCELLED", "Aborted")


def test_a_frozen_release_fails_as_frozen(world: World) -> None:
    world.errors["v2"] = 1.0
    assert run(make_service("canary", replicas=2, on_failure="freeze"))[:2] == ("FAILED", "Frozen")


@pytest.mark.parametrize("point", ["publish baseline", "journal intent analyse"])
def test_a_release_that_was_killed_goes_on_in_the_next_run(world: World, point: str) -> None:
    service = make_service("canary", replicas=2)
    die_at(world, point)
    with pytest.raises(Died):
        start(service)
    world.revive()
    assert run(service)[:2] == ("COMPLETED", "Promoted")
    assert unserved(world.history) == []
    keys = [line.key for line in record().all("outcome")]
    assert len(keys) == len(set(keys)), "what was done was not done again"


def test_a_proxy_that_is_away_for_a_moment_is_asked_again(world: World) -> None:
    failed = away_at(world, "journal asked", times=1)
    assert run(make_service("canary", replicas=2))[:2] == ("COMPLETED", "Promoted")
    assert failed() > 0


def test_another_release_meanwhile_is_refused_and_the_first_one_goes_on(world: World) -> None:
    service = make_service("canary", replicas=2)
    die_at(world, "journal intent bake-candidate-5%")
    with pytest.raises(Died):
        start(service)
    world.revive()
    state = FLOWS["canary"](service, "v3", "r2", return_state=True)
    assert state is not None
    assert state.is_failed()
    assert "found release r1 of v2 under way" in str(state.message)
    assert not journal_of("shop", "r2").exists()
    assert run(service)[:2] == ("COMPLETED", "Promoted")


@pytest.mark.parametrize(
    ("state", "outcome"), [("Crashed", Outcome.ROLLED_BACK), ("Cancelling", Outcome.ABORTED)]
)
def test_the_compensating_flow_takes_a_lost_run_back(world: World, state: str, outcome: Outcome) -> None:
    service = make_service("canary", replicas=2)
    die_at(world, "journal intent bake-candidate-5%")
    with pytest.raises(Died):
        start(service)
    world.revive()
    parameters = {"service": service.model_dump(mode="json"), "version": "v2", "release": "r1"}
    for _ in range(2):
        way_back("prefect.flow-run.00000000-0000-0000-0000-000000000000", state, parameters)
    assert record().outcome is outcome
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.BLUE)


def test_the_compensating_flow_leaves_what_has_ended_or_never_begun(world: World) -> None:
    service = make_service("canary", replicas=2)
    parameters = {"service": service.model_dump(mode="json"), "version": "v2", "release": "r1"}
    way_back("prefect.flow-run.x", "Failed", parameters)
    run(service)
    changes = world.changes
    way_back("prefect.flow-run.x", "Failed", parameters)
    assert world.changes == changes
    with get_client(sync_client=True) as client:
        assert client.api_healthcheck() is None
