"""The gate's form on Prefect's real engine: what is typed there counts, and it closes when others decide."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import PrefectHTTPStatusError

from tasks import approval
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome
from tasks.journal import journal_of
from tasks.record import Record
from tasks.restore import take_back
from tests.rig.bare import FLOWS
from tests.rig.fakes import make_service
from tests.rig.world import World

WITHIN = 30.0


@pytest.fixture
def world(prefect_world: World) -> World:
    return prefect_world


@pytest.fixture
def running(world: World) -> Iterator[Future[State[Any]]]:
    """A blue-green release that comes to a gate."""
    del world
    service = make_service("blue-green", replicas=2, gates={"approvers": ["ann", "bob"], "within": "60s"})
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(FLOWS["blue-green"], service, "v2", "r1", "carol", return_state=True)


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def waiting(client: SyncPrefectClient, *, before: str = "") -> FlowRun:
    """The run that shows a form, once it does: another form than *before*.

    Prefect pauses the run first and then saves what the form shows, its text last.
    """
    paused = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Paused"])))
    end = time.monotonic() + WITHIN
    while time.monotonic() < end:
        for run in client.read_flow_runs(flow_run_filter=paused):
            if form_of(run) not in ("", before) and text_of(client, run):
                return run
        time.sleep(0.1)
    msg = "no form was shown"
    raise AssertionError(msg)


def form_of(run: FlowRun) -> str:
    keyset = run.state.state_details.run_input_keyset if run.state else None
    return keyset["response"] if keyset else ""


def text_of(client: SyncPrefectClient, run: FlowRun) -> str:
    """What the form says above its fields; empty while it says nothing yet."""
    keyset = run.state.state_details.run_input_keyset if run.state else None
    try:
        return client.read_flow_run_input(run.id, keyset["description"]) if keyset else ""
    except PrefectHTTPStatusError as missing:
        if missing.response.status_code != HTTPStatus.NOT_FOUND:
            raise
        return ""


def answer(client: SyncPrefectClient, run: FlowRun, **said: object) -> SetStateStatus:
    common = {"decision": "approve", "name": "ann", "reason": "", "minutes": 1}
    return client.resume_flow_run(run.id, run_input=common | said).status


def test_who_is_no_approver_sees_the_form_again_and_an_approver_lets_it_go_on(
    running: Future[State[Any]],
) -> None:
    with get_client(sync_client=True) as client:
        first = waiting(client)
        assert answer(client, first, name="mallory") is SetStateStatus.ACCEPT
        again = waiting(client, before=form_of(first))
        assert record().all("decision") == []
        assert answer(client, again, decision="sometimes") is SetStateStatus.REJECT
        assert answer(client, again, reason="looked at it") is SetStateStatus.ACCEPT
    assert running.result(WITHIN).name == Outcome.PROMOTED
    (said,) = record().decisions
    assert (said.by, said.reason, said.verified) == ("ann", "looked at it", False)


def test_the_form_shows_what_is_asked_and_by_whom_it_may_be_answered(running: Future[State[Any]]) -> None:
    with get_client(sync_client=True) as client:
        run = waiting(client)
        text = text_of(client, run)
        assert "shop v2 in place of v1 waits for approval before all traffic" in text
        assert "ann, bob" in text
        answer(client, run, decision="reject", reason="no")
    state = running.result(WITHIN)
    assert (state.name, state.message) == (Outcome.REJECTED, "rejected by ann (claimed): no")


def test_the_form_closes_once_somebody_has_decided_elsewhere(running: Future[State[Any]]) -> None:
    with get_client(sync_client=True) as client:
        run = waiting(client)
        approval.decide(journal_of("shop", "r1"), Choice.APPROVE, by="bob", reason="")
        assert running.result(WITHIN).name == Outcome.PROMOTED
        state = client.read_flow_run(run.id).state
    assert state
    assert state.name == "Approved"
    assert len(record().decisions) == 1


def test_an_abort_is_not_kept_waiting_by_a_form(running: Future[State[Any]]) -> None:
    with get_client(sync_client=True) as client:
        waiting(client)
    take_back(journal_of("shop", "r1"), reason="aborted by bob", outcome=Outcome.ABORTED, by="bob")
    assert running.result(WITHIN).name == Outcome.ABORTED
