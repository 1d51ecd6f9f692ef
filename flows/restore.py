"""The compensating flow: takes back, or lets go on, a release whose run ended without it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import flow, get_client
from prefect.client.schemas.objects import State
from prefect.states import AwaitingRetry, Completed

from flows.outlive import outlive_runner
from tasks.domain.model import Outcome
from tasks.journal import journal_of
from tasks.record import Record
from tasks.restore import take_back
from tasks.turns import withdraw


@flow(name="way-back", flow_run_name="way-back-{run}")
def way_back(run: str, state: str, parameters: dict[str, Any]) -> State[None]:
    """Started by an automation when a release's run crashed, failed, timed out or was cancelled.

    Args:
        run: The release's flow run.
        state: The name of the state that it came to.
        parameters: What that run was started with.
    """
    outlive_runner()
    run = run.removeprefix("prefect.flow-run.")
    service = parameters["service"]
    name = service if isinstance(service, str) else service["service"]
    journal = journal_of(name, parameters.get("release") or f"{name}-{run[:8]}")
    cancelled = state in ("Cancelled", "Cancelling")
    if cancelled and withdraw(name, journal.release):
        return Completed(message=f"{name}: {journal.release} waits for its turn no more")
    if not journal.exists() or (record := Record.read(journal)).ended:
        return Completed(message=f"{name}: nothing to take back")
    if record.service.on_crash == "resume" and not cancelled and not record.reverting:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(run), AwaitingRetry(), force=True)
        return Completed(message=f"{name}: {journal.release} is carried on")
    outcome = Outcome.ABORTED if cancelled else Outcome.ROLLED_BACK
    reason = "its flow run was cancelled in Prefect" if cancelled else f"its flow run came to {state}"
    take_back(journal, reason=reason, outcome=outcome, by="compensation")
    return Completed(message=f"{name}: {journal.release} was taken back")
