"""Acts and cancelling on Prefect's real engine: the form says what the command says, and no cancel leaves traffic lying."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelled
from prefect.utilities.callables import parameter_schema

from deployments.watcher import Watched
from flows.act import act
from flows.restore import way_back
from tasks.acts import say
from tasks.approval import decide
from tasks.domain.acts import Act
from tasks.domain.errors import ConflictError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome, Slot, Split
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of
from tasks.record import Record
from tasks.step_acts import step_now
from tests.flows.test_gate_form import waiting
from tests.rig.bare import FLOWS
from tests.rig.fakes import make_service
from tests.rig.stack import await_that
from tests.rig.world import Died, World

WITHIN = 30.0


@pytest.fixture
def world(prefect_world: World) -> World:
    return prefect_world


@pytest.fixture
def watcher(world: World) -> Iterator[None]:
    """What the watcher does all the time."""
    del world
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            Watched(journal_of("shop", "r1")).look_once()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def begin(pool: ThreadPoolExecutor, service: ServiceFile) -> Future[State[Any]]:
    strategy: str = service.strategy  # type: ignore[attr-defined]  # each strategy's model has it
    return pool.submit(FLOWS[strategy], service, "v2", "r1", "carol", return_state=True)


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def bakes() -> bool:
    journal = journal_of("shop", "r1")
    return journal.exists() and bool(step_now(Record.read(journal).lines))


def all_on_stable(world: World) -> bool:
    return world.traffic is not None and world.traffic.split == Split.all_to(Slot.BLUE)


def test_the_form_asks_in_words_and_in_this_order() -> None:
    schema = parameter_schema(act).model_dump()
    shown = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    assert shown == ["service", "act", "minutes", "name", "reason"]
    assert schema["properties"]["act"]["enum"] == ["abort", "promote", "hold", "skip", "retry"]
    assert all(field["title"] and field["description"] for field in schema["properties"].values())
    assert sorted(schema["required"]) == ["act", "name", "service"]


@pytest.mark.usefixtures("watcher")
def test_what_is_said_in_the_form_is_obeyed_or_refused_in_plain_words(
    world: World, pool: ThreadPoolExecutor
) -> None:
    service = make_service("canary", replicas=2, steps=[{"share": 5, "bake": "5m"}], watch="5m")
    running = begin(pool, service)
    await_that(bakes, WITHIN, "a bake")
    held = act("shop", "hold", minutes=3, name="ann", reason="lunch", return_state=True)
    assert held.is_completed()
    assert (held.message or "").startswith("hold by ann (claimed): lunch; candidate-5% lasts until ")
    assert act("shop", "promote", name="ann", return_state=True).is_completed()
    assert running.result(WITHIN).name == Outcome.PROMOTED
    refused = act("shop", "skip", name="ann", return_state=True)
    assert (refused.type.value, refused.name) == ("FAILED", "Refused")
    assert refused.message == "service: found 'shop', expected a service with a release under way"
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.GREEN)


@pytest.mark.usefixtures("watcher")
def test_an_abort_from_the_form_ends_with_the_release(world: World, pool: ThreadPoolExecutor) -> None:
    running = begin(pool, make_service("canary", replicas=2, steps=[{"share": 5, "bake": "5m"}]))
    await_that(bakes, WITHIN, "a bake")
    state = act("shop", "abort", name="ann", reason="the shop is full", return_state=True)
    assert state.message == "r1: Aborted: aborted by ann: the shop is full"
    assert all_on_stable(world)
    assert running.result(WITHIN).name == Outcome.ABORTED


@pytest.mark.usefixtures("watcher")
def test_a_gate_that_is_cancelled_takes_the_release_back_at_once(
    world: World, pool: ThreadPoolExecutor
) -> None:
    service = make_service("blue-green-canary", replicas=2, gates={"approvers": ["ann", "bob"]})
    running = begin(pool, service)
    with get_client(sync_client=True) as client:
        run = waiting(client)
        client.set_flow_run_state(run.id, Cancelled())  # as the button in the UI does
        ended = running.result(WITHIN)
        assert (ended.type.value, ended.name) == ("CANCELLED", "Aborted")
        assert "its gate was cancelled in Prefect" in (ended.message or "")
        gate = client.read_flow_run(run.id).state
        assert gate
        assert gate.is_final()
    assert all_on_stable(world)
    with pytest.raises(ConflictError, match="no gate"):
        decide(journal_of("shop", "r1"), Choice.APPROVE, by="ann", reason="")


@pytest.mark.parametrize(("state", "on_crash"), [("Cancelled", "revert"), ("Cancelling", "resume")])
@pytest.mark.parametrize("point", ["write", "journal intent bake-candidate-5%", "journal gate promotion"])
def test_a_run_that_was_cancelled_wherever_it_was_leaves_no_traffic_and_says_so(
    world: World, point: str, state: str, on_crash: str
) -> None:
    """The process is ended as a cancel ends it, and Prefect's automation starts the compensating flow."""
    gates = {"approvers": ["ann", "bob"]}
    service = make_service("canary", replicas=2, on_crash=on_crash, gates=gates)
    world.on_change = lambda what: setattr(world, "dead", world.dead or what.startswith(point))
    with pytest.raises(Died):
        FLOWS["canary"](service, "v2", "r1", "carol")
    world.revive()
    parameters = {"service": service.model_dump(mode="json"), "version": "v2", "release": "r1"}
    way_back("prefect.flow-run.00000000-0000-0000-0000-000000000000", state, parameters)
    assert record().outcome is Outcome.ABORTED
    assert record().ended.data["message"] == "its flow run was cancelled in Prefect"  # type: ignore[union-attr]
    assert all_on_stable(world)
    with pytest.raises(ConflictError, match="ended as Aborted"):
        say(journal_of("shop", "r1"), Act.PROMOTE, by="ann")
