"""The way back: all live requests to stable, the new version retired. Needs no Prefect.

It needs the journal and the world, nothing of a dead process. It may be called at any time,
by anybody who can take the lease, and repeated until it is done.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta

from tasks.domain.errors import GoneError, PermanentError, TransientError, UnhealthyError
from tasks.domain.model import Health, Outcome, Replica, Revision, Split, Traffic
from tasks.journal import Journal, read_lease
from tasks.record import Record
from tasks.release import Carrier

PATIENCE = timedelta(seconds=30)
"""How long a proxy that is away is asked again before this attempt is given up."""
CONVERGE = timedelta(seconds=2)
"""How long stable may take to become whole before it is asked for again."""
PAUSE = 0.5
"""Seconds between two attempts."""


def take_back(journal: Journal, *, reason: str, outcome: Outcome, by: str) -> Outcome | None:
    """Take the lease of a release that somebody else carried, or nobody, and take it back.

    Returns:
        How it ended; None when somebody else is at it.

    Raises:
        TransientError: Router or fleet stayed away; call again.
    """
    record = Record.read(journal)
    held = read_lease(record.service.service)
    if record.outcome is not None:
        return thaw(journal) if record.frozen else record.outcome
    if record.reverting and held and held.alive and held.release == record.release:
        return None
    carrier = Carrier.resume(journal, by=by, over=True)
    try:
        if (outcome_meanwhile := carrier.record.outcome) is not None:
            return outcome_meanwhile
        return restore(carrier, reason=reason, outcome=outcome, by=by)
    finally:
        carrier.let_go()


def thaw(journal: Journal) -> Outcome:
    """Take back a release that was left frozen, because a person says so."""
    carrier = Carrier.resume(journal, by="a person")
    try:
        go_back(carrier)
        retire_the_rest(carrier)
        carrier.write("thawed")
    finally:
        carrier.let_go()
    return Outcome.ABORTED


def restore(carrier: Carrier, *, reason: str, outcome: Outcome, by: str) -> Outcome:
    """Take a release back and end it. What was said first stays: reason, outcome and by whom.

    Args:
        reason: Why, in words for the person who reads it at night.
        by: Who found it: ``flow``, ``guard``, ``watcher``, ``compensation``, a person's name.

    Raises:
        TransientError: Router or fleet stayed away; call again.
        LeaseLostError: Another carrier took over; not retried.
    """
    if carrier.record.reverting is None:
        carrier.write("reverting", reason=reason, outcome=outcome, by=by)
    word = carrier.record.reverting
    outcome, reason = (Outcome(word.data["outcome"]), word.data["reason"]) if word else (outcome, reason)
    if carrier.release.service.on_failure == "freeze" and outcome in (Outcome.ROLLED_BACK, Outcome.FAILED):
        carrier.end(Outcome.FROZEN, f"{reason} (left as it is, as on_failure says)")
        return Outcome.FROZEN
    try:
        if carrier.release.stable is None and carrier.router.live() is not None:
            carrier.end(Outcome.PROMOTED, f"the first version is live and stays, although {reason}")
            return Outcome.PROMOTED
        go_back(carrier)
        retire_the_rest(carrier)
    except PermanentError:
        if (gone := nothing_left(carrier)) is None:
            raise
        write_off(carrier, gone)
        carrier.end(Outcome.FAILED, f"{reason}; nothing is left to go back to: {gone}")
        return Outcome.FAILED
    carrier.end(outcome, reason)
    return outcome


def nothing_left(carrier: Carrier) -> str | None:
    """Why there is nothing any more to go back to, or to clear away; None while there may be.

    A route or a Service that is gone may come back; what runs the service, once deleted, does not.

    Raises:
        TransientError: The fleet does not answer; retried.
    """
    try:
        carrier.fleet.observe()
    except GoneError as gone:
        return str(gone)
    return None


def write_off(carrier: Carrier, gone: str) -> None:
    """Nothing is to be retired or given back any more."""
    for revision, _ in carrier.record.due:
        carrier.write("retired", slot=revision.slot, version=revision.version, gone=gone)
    if not carrier.record.given_back:
        carrier.write("given-back", gone=gone)


def go_back(carrier: Carrier) -> None:
    """All live requests to stable, and stable whole again. Without a stable there is nothing to do.

    The traffic moves as soon as stable can carry it; its last replica may be put back after.
    """
    stable, replicas = carrier.release.stable, carrier.release.replicas
    if stable is None:
        return
    stand_up(carrier, stable, replicas - carrier.release.service.spare(replicas))
    if carrier.record.asked is not None:
        patiently(carrier)
    stand_up(carrier, stable, replicas)


def stand_up(carrier: Carrier, stable: Revision, enough: int) -> None:
    """Have *enough* of stable healthy and routed to, or as many as its time to get ready allows.

    It is asked for again and again: the carrier before may have been about to stop a replica.
    Where they are there, which is usual, this only looks.

    Raises:
        UnhealthyError: Not one replica is healthy, so there is nothing to go back to.
    """
    release = carrier.release
    deadline = time.monotonic() + release.service.fleet.ready_within.total_seconds()
    while len(serving := healthy(carrier, stable)) < enough and time.monotonic() < deadline:
        carrier.fleet.deploy(stable, release.replicas, carrier.lease)
        try:
            carrier.fleet.wait_healthy(stable, enough, CONVERGE)
        except UnhealthyError:
            time.sleep(PAUSE)
    if not serving:
        msg = f"{stable}: found no healthy replica, expected at least one to go back to"
        raise UnhealthyError(msg)
    addresses = {replica.address for replica in carrier.fleet.observe() if replica.revision == stable}
    if not addresses <= set(carrier.router.published(stable.slot)):
        with suppress(TransientError):  # some are not healthy yet; the proxy goes on asking them
            carrier.router.publish(stable.slot, addresses, carrier.lease)


def patiently(carrier: Carrier) -> None:
    """Ask for all traffic on stable until it is live."""
    deadline = time.monotonic() + PATIENCE.total_seconds()
    traffic = Traffic(Split.all_to(carrier.release.old.slot))
    while True:
        try:
            carrier.send(traffic)
        except TransientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
        else:
            return


def retire_the_rest(carrier: Carrier) -> None:
    """Leave everything that is not stable to be retired; the delay counts from detection."""
    word = carrier.record.reverting
    since = word.at if word else carrier.record.opened_at
    delay = since + carrier.release.service.abort_scale_down_delay
    for revision in {replica.revision for replica in carrier.fleet.observe()} - {carrier.release.stable}:
        carrier.retire_at(revision, delay)


def healthy(carrier: Carrier, revision: Revision) -> list[Replica]:
    """The replicas of *revision* that are healthy now."""
    return [r for r in carrier.fleet.observe() if r.revision == revision and r.health is Health.HEALTHY]
