"""Gate: the release waits for a person's approval, in a form of its run, on a page, or at the command line."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Literal, Self
from uuid import UUID

import httpx
from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause, PrefectException
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Running
from pydantic import Field

from flows.carry import patiently
from tasks.approval import close_gate, decide, open_gate, ruling_of
from tasks.domain.errors import DavyError, PermanentError, RejectedError, TransientError
from tasks.domain.gates import Choice, OpenGate, limit_of, place_of
from tasks.domain.model import Revision
from tasks.drift import handle_drift
from tasks.release import Carrier, Release

POLL = 0.5
"""Seconds between two looks at the journal."""
LOOK = 1.0
"""Seconds between two looks at whether somebody else has changed what is held."""
BEYOND = timedelta(days=1)
"""How much longer than its deadline the form may stay open: holds move the deadline, and the gate ends by itself."""
ELSEWHERE = "decided elsewhere"
CANCELLER = "somebody who cancelled the gate in Prefect"
WAITING = "AwaitingApproval"
"""Name of the state of a release's run while it waits at a gate."""


class Approval(RunInput):
    """The form of a gate."""

    decision: Literal["approve", "reject", "hold"] = Field(
        title="Decision", description="Approve: it goes on. Reject: it is taken back. Hold: it waits longer."
    )
    name: str = Field(
        title="Your name",
        description="As in the list of approvers above; recorded as claimed, since nothing here proves it.",
        min_length=1,
    )
    reason: str = Field("", title="Reason", description="Recorded with the decision.")
    minutes: int = Field(
        30, title="Minutes to hold", description="Counts with hold only: so much longer it waits.", ge=1
    )


def await_approval(release: Release, revision: Revision, share: int) -> None:
    """Wait at each gate that stands before *share* and has not been passed.

    Args:
        share: Basis points that *revision* is to have next.

    Raises:
        RejectedError: A person, or the deadline, does not let it go on; not retried.
        LeaseLostError: The release was taken back meanwhile; not retried.
        DriftError: Somebody else changed what it holds; not retried.
    """
    gates = release.service.gates
    for point in gates.before(share) if gates else ():
        carrier = Carrier.of(release)
        if reached(carrier, revision) > limit_of(point):
            continue
        show_waiting(release, point)
        state = gate(release, revision, point, return_state=True)
        show_state(Running())
        ruling = carrier.record.gate_of(point)
        if ruling is None:
            state.result()  # raises what ended it
            msg = f"gate {point}: found it to have ended without a decision, expected one"
            raise PermanentError(msg)
        if not ruling.data["approved"]:
            raise RejectedError(ruling.data["reason"])


def show_waiting(release: Release, point: str) -> None:
    """Say on the release's own page that it waits for a person, and where that person decides."""
    what = f"{release.name} {release.version} waits for approval {place_of(point)}"
    where = f"Resume in the menu of the subflow run gate-{point}, or `davy approve {release.name}`"
    show_state(Running(name=WAITING, message=f"{what}: {where}"))


def show_state(state: State[None]) -> None:
    """Give the release's own run this state, unless it is being cancelled; a server that is away changes nothing."""
    if flow_run.id is None:
        return
    if state.message:
        get_run_logger().info(state.message)
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(str(flow_run.id)), state)


def reached(carrier: Carrier, revision: Revision) -> int:
    """The largest share (basis points) that *revision* was ever asked to have in this release."""
    splits = (line.data["split"] for line in carrier.record.all("asked"))
    return max((split.get(str(revision.slot), 0) for split in splits), default=0)


@flow(name="gate", flow_run_name="gate-{point}")
def gate(release: Release, revision: Revision, point: str) -> State[None]:
    """Wait for a person's approval: Resume, in this run's menu, opens the form with the evidence.

    The new version keeps the share that it has, guarded all the time. The run ends as ``Approved`` or
    ``Rejected``, with the reason; the journal has it too.
    """
    carrier = Carrier.of(release)
    while True:
        opened = patiently(lambda: open_gate(carrier, revision, point))
        if opened is None:
            return Completed(name="Approved")
        with Bell(carrier) as bell:
            while not bell.rang:
                ask(carrier, opened, bell)
        if bell.trouble:
            raise bell.trouble
        if ruling := close_gate(carrier, revision, opened):
            make = Completed if ruling.approved else Cancelled
            return make(name="Approved" if ruling.approved else "Rejected", message=ruling.reason)
        time.sleep(POLL)


def ask(carrier: Carrier, opened: OpenGate, bell: Bell) -> None:
    """Show the form once, and write what was said; a server that is away leaves the other ways to decide."""
    from tasks.report.evidence import evidence_at  # noqa: PLC0415 - draws, which takes a second to import

    form = Approval.with_initial_data(description=evidence_at(carrier.record, opened))
    seconds = int((opened.deadline + BEYOND - datetime.now(UTC)).total_seconds())
    try:
        said = pause_flow_run(form, timeout=seconds, poll_interval=1, key=f"gate-{time.time_ns()}")
    except (Exception, Pause) as error:  # noqa: BLE001 - whatever the server has, the release waits on
        get_run_logger().warning("The form could not be shown: %s", error)
        bell.close_form()  # where it hangs half open, none can be shown again
        bell.wait(LOOK)
        return
    if said.name == ELSEWHERE:
        return
    try:
        held_for = timedelta(minutes=said.minutes) if said.decision == "hold" else timedelta(0)
        decide(
            carrier.journal,
            Choice(said.decision),
            by=said.name,
            reason=said.reason,
            plan=opened.plan,
            held_for=held_for,
        )
    except DavyError as error:
        get_run_logger().warning("The decision of %r does not count: %s", said.name, error)
    else:
        bell.wait(2 * POLL)  # it may have come to something: then no form is shown again


class Bell:
    """Looks at the journal while the form is open, and closes the form once the gate has come to something.

    Attributes:
        trouble: Why the release cannot go on whatever is decided; None while it can.
    """

    def __init__(self, carrier: Carrier) -> None:
        self.trouble: Exception | None = None
        self._carrier = carrier
        self._run = UUID(str(flow_run.id)) if flow_run.id else None
        self._decided, self._over = Event(), Event()
        self._thread = Thread(target=self._watch, name="bell", daemon=True)

    @property
    def rang(self) -> bool:
        """The gate has come to something, or the release cannot wait any more."""
        return self._decided.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for it so long."""
        self._decided.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._over.wait(POLL):
            try:
                self._carrier.check()
                if time.monotonic() - looked > LOOK:
                    self._heed_cancel()
                    handle_drift(self._carrier)
                    looked = time.monotonic()
                if ruling_of(self._carrier.record):
                    self._decided.set()
            except TransientError:
                continue
            except Exception as error:  # noqa: BLE001 - the flow raises it
                self.trouble = error
                self._decided.set()
            if self.rang:
                self.close_form()

    def _heed_cancel(self) -> None:
        """Where the gate's own run was cancelled in Prefect, have the watcher take the release back.

        Prefect goes on waiting for an answer to a form that nobody can answer any more, so the run is
        set to run on for a moment, in which the flow sees that the release is on its way back.
        """
        if self._run is None:
            return
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            state = client.read_flow_run(self._run).state
            if state is None or not (state.is_cancelled() or state.is_cancelling()):
                return
            self._carrier.journal.append("abort", by=CANCELLER, reason="its gate was cancelled in Prefect")
            client.set_flow_run_state(self._run, Running(), force=True)

    def close_form(self) -> None:
        """Let the run go on from its form; where it shows none, or the server is away, nothing happens."""
        if self._run is None:
            return
        answer = {"decision": "reject", "name": ELSEWHERE, "reason": "", "minutes": 1}
        with suppress(Exception), get_client(sync_client=True) as client:
            client.resume_flow_run(self._run, run_input=answer)
