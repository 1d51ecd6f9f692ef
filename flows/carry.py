"""What every strategy's flow has in common: how it begins, is carried on, and ends.

A flow is a function of its release's journal. Each start takes the lease's next epoch, holds
the live world against the journal, and goes through the steps from the top.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar, cast

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.outlive import outlive_runner
from tasks.artifacts import show_report
from tasks.domain.changes import Changes, changed
from tasks.domain.errors import (
    ConflictError,
    DavyError,
    InputError,
    LeaseLostError,
    PermanentError,
    RejectedError,
    SupersededError,
    TransientError,
    WithdrawnError,
)
from tasks.domain.model import Outcome, Split
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.drift import handle_split
from tasks.journal import Journal, journal_of, read_lease
from tasks.opening import open_release
from tasks.provision import clear_leftovers, provision, register
from tasks.record import Record
from tasks.release import Carrier, Release
from tasks.restore import restore
from tasks.traffic import switch_to

ENDING = timedelta(minutes=3)
"""How long a flow that was taken over waits for the other carrier to end the release."""
PATIENCE = timedelta(seconds=30)
"""How long a proxy, a supervisor or an API server may be away when a release begins, or is carried on."""

R = TypeVar("R")
S = TypeVar("S", bound=ServiceFile)


def carry_out(
    body: Callable[[Release, S], Outcome],
    kind: str,
    service: S,
    version: str,
    release_id: str,
    *,
    starter: str = "",
    changes: Changes | None = None,
) -> State[None]:
    """Carry a release to its end, from wherever its journal says it is.

    Args:
        body: The strategy.
        kind: Its name, for the journal.
        release_id: Empty for a release started from Prefect's UI: the run's own id is taken.
        starter: Who started it; empty where that is not known.
        changes: What is changed of the service file for this run.

    Returns:
        The state that the flow ends in: Completed, Failed or Cancelled, named by the outcome.

    Raises:
        InputError: The changes do not fit, or the release is of another version; not retried.
    """
    outlive_runner()
    service = changed(service, changes)
    release_id = release_id or id_of_run(service.service)
    journal = journal_of(service.service, release_id)
    if journal.exists():
        refuse_other(Record.read(journal), version)
    try:
        carrier = resume(journal) if journal.exists() else begin(release_id, kind, service, version, starter)
    except SupersededError as error:
        return Cancelled(name=Outcome.SUPERSEDED, message=str(error))
    except WithdrawnError as error:
        return Cancelled(name=Outcome.ABORTED, message=str(error))
    if carrier is None:
        return ended(journal)
    carrier.write("run", id=str(flow_run.id))
    if word := carrier.record.reverting:
        go_back(carrier, PermanentError(word.data["reason"]))
        return ended(journal)
    try:
        patiently(lambda: hold_against_journal(carrier))
        release = carrier.release
        outcome = body(release, cast("S", release.service)) if release.stable else first_version(release)
        carrier.end(outcome, f"{service.service} {outcome}: {version}")
    except LeaseLostError:
        carrier.let_go()
    except Exception as error:  # noqa: BLE001 - whatever went wrong, users go back to stable
        get_run_logger().warning("Going back: %s", error, exc_info=not isinstance(error, DavyError))
        go_back(carrier, error)
    return ended(journal)


def id_of_run(service: str) -> str:
    """The id of a release that was started from Prefect's UI: the flow run's own."""
    return f"{service}-{str(flow_run.id)[:8]}"


def refuse_other(record: Record, version: str) -> None:
    """Make sure that a release that has begun is not taken for one of another version.

    Raises:
        InputError: It is; not retried.
    """
    if record.opening.version != version:
        expected = f"an id of its own, since this one released {record.opening.version}"
        raise InputError("release", record.release, expected)


def begin(release_id: str, kind: str, service: ServiceFile, version: str, starter: str) -> Carrier | None:
    """Open the release; where another process of this run opens it meanwhile, `resume` it."""
    journal = journal_of(service.service, release_id)
    while True:
        try:
            return patiently(lambda: open_release(release_id, kind, service, version, starter))
        except ConflictError:
            time.sleep(1)  # by then the other process shows in the lease, if it is one of this run
            if journal.exists():
                return resume(journal)
            held = read_lease(service.service)
            if not (held and held.alive and held.release == release_id):
                raise


def patiently(act: Callable[[], R]) -> R:
    """What *act* gives; a part that is being restarted gets some time.

    Raises:
        TransientError: It is still away; retried.
    """
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return act()
        except TransientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def resume(journal: Journal) -> Carrier | None:
    """Take over a release whose carrier is gone, as soon as its lease has expired; None once it has ended.

    While another process of this same run carries it, this one stands by: infrastructure may begin a run twice.

    Raises:
        ConflictError: Its carrier is alive, and of another run; not retried.
    """
    deadline = time.monotonic() + 2 * settings().lease_ttl.total_seconds()
    while not (record := Record.read(journal)).ended:
        try:
            return Carrier.resume(journal, by=f"flow run {flow_run.id}")
        except ConflictError:
            if record.run != str(flow_run.id) and time.monotonic() > deadline:
                raise
            time.sleep(1)
    return None


def hold_against_journal(carrier: Carrier) -> None:
    """Compare the split that is live with the last one that the journal asked for.

    Raises:
        LeaseLostError: The way back has begun; only that may run now; not retried.
        TransientError: The router does not answer; retried.
        DriftError: Somebody else changed the split, and the service file does not go on then; not retried.
    """
    carrier.check()
    record = carrier.record
    stable = record.opening.stable
    reached = [Split(line.data["split"]) for line in record.all("live")]
    before = reached[-1] if reached else Split.all_to(stable.slot) if stable else None
    under_way = record.traffic.split if record.traffic else before
    handle_split(carrier, before, under_way)


def first_version(release: Release) -> Outcome:
    """Bring up a service that has no stable version: nobody is on it yet, so there are no steps."""
    register(release)
    provision(release, release.successor, release.service.replicas)
    switch_to(release, release.successor)
    return Outcome.PROMOTED


def prepare(release: Release) -> None:
    """What every strategy begins with."""
    register(release)
    clear_leftovers(release)


def go_back(carrier: Carrier, error: Exception) -> None:
    """Take the release back at once; what does not succeed here, the watcher goes on with."""
    with suppress(LeaseLostError):
        try:
            outcome = Outcome.REJECTED if isinstance(error, RejectedError) else Outcome.ROLLED_BACK
            restore(carrier, reason=str(error) or repr(error), outcome=outcome, by="flow")
        except (DavyError, OSError) as trouble:
            get_run_logger().error("The way back is left to the watcher: %s", trouble)
            with suppress(OSError):
                carrier.write("trouble", what=str(trouble))
    carrier.let_go()


def ended(journal: Journal) -> State[None]:
    """The state that a journal's end stands for; waits for another carrier to write it."""
    deadline = time.monotonic() + ENDING.total_seconds()
    while (line := Record.read(journal).ended) is None:
        if time.monotonic() > deadline:
            return Failed(name=Outcome.FAILED, message=unended(Record.read(journal)))
        time.sleep(0.2)
    show_report(Record.read(journal))
    outcome = Outcome(line.data["outcome"])
    make = {
        Outcome.PROMOTED: Completed,
        Outcome.TRIED: Completed,
        Outcome.REJECTED: Cancelled,
        Outcome.ABORTED: Cancelled,
        Outcome.SUPERSEDED: Cancelled,
    }.get(outcome, Failed)
    return make(name=str(outcome), message=line.data["message"])


def unended(record: Record) -> str:
    """Why a release that somebody else carries has not ended yet, in words."""
    if record.reverting is None:
        return "taken over, but not ended in time; see 'davy status'"
    trouble = record.last("trouble")
    held_up = f", held up by: {trouble.data['what']}" if trouble else ""
    return (
        f"still on its way back, which the watcher goes on with: {record.reverting.data['reason']}{held_up}"
    )
