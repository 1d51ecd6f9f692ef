"""Drift: what somebody else changed while a release holds it. Seen, named, and handled as the file says."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.domain.errors import DriftError, ForbiddenError, PermanentError, TransientError
from tasks.domain.model import Health, Replica, Slot, Split, Traffic
from tasks.release import Carrier


def handle_drift(carrier: Carrier) -> None:
    """Hold the world against the journal: the live split, and what runs as stable.

    What cannot be asked now is asked again later.

    Raises:
        DriftError: Somebody else changed it, and the service file says ``on_drift: abort``; not retried.
        TransientError: It could not be put right yet; retried.
        GoneError: What the service runs on is not there any more; not retried.
        ForbiddenError: Router or fleet may not be asked any more; not retried.
        LeaseLostError: Another carrier took over; not retried.
    """
    record = carrier.record
    if record.traffic is None or record.live_since is None:
        return
    try:
        split, there = differing_split(carrier, record.traffic.split), carrier.fleet.observe()
    except TransientError:
        return
    refuse_vanished(carrier, record.traffic.split, there)
    strangers = strangers_in_stable(carrier, there)
    if split is not None:
        _handle(carrier, f"live requests: found {split}, expected {record.traffic.split}")
        carrier.send(record.traffic)
    if strangers:
        versions = ", ".join(sorted({replica.revision.version for replica in strangers}))
        old = carrier.release.old
        _handle(carrier, f"{old.slot}: found it to run {versions}, expected {old.version}")
        carrier.fleet.deploy(old, len(strangers), carrier.lease)


def handle_split(carrier: Carrier, *expected: Split | None) -> None:
    """Hold the live split against the ones that are right, as when a release is resumed.

    Raises:
        DriftError: As above; not retried.
        ForbiddenError: The router may not be asked; not retried.
        TransientError: The router does not answer, or does not serve it yet; retried.
    """
    try:
        live, found = carrier.router.live(), ""
    except ForbiddenError:
        raise
    except PermanentError as error:
        live, found = None, str(error)
    if not found and live in expected:
        return
    record = carrier.record
    _handle(carrier, f"live requests: found {found or live}, expected {expected[0]}")
    carrier.send(record.traffic or Traffic(Split.all_to(carrier.release.old.slot)))


def differing_split(carrier: Carrier, expected: Split) -> str | None:
    """What is live in place of *expected*, in words; None where nothing is, or nothing is known.

    Raises:
        ForbiddenError: It may not be asked; not retried.
        TransientError: The router does not answer; retried.
    """
    try:
        live = carrier.router.live()
    except ForbiddenError:
        raise
    except PermanentError as error:
        return str(error)
    return None if live in (None, expected) else str(live)


def refuse_vanished(carrier: Carrier, split: Split, there: Sequence[Replica]) -> None:
    """Make sure that something runs, well or not, wherever requests go.

    Raises:
        DriftError: Somebody else took it away: its users get errors, whatever the service file says of drift; not retried.
    """
    empty = [str(slot) for slot in split.shares if not any(one.revision.slot is slot for one in there)]
    if empty:
        what = f"{', '.join(empty)}: found nothing running, expected what has a share of {split}"
        carrier.write("drift", what=what, on_drift="abort")
        msg = f"{carrier.release.name}: somebody else changed it: {what}"
        raise DriftError(msg)


def strangers_in_stable(carrier: Carrier, there: Sequence[Replica]) -> list[Replica]:
    """Replicas of another version where stable runs."""
    stable = carrier.release.stable
    if stable is None or stable.slot not in (Slot.BLUE, Slot.GREEN):
        return []
    here = [one for one in there if one.revision.slot is stable.slot]
    return [one for one in here if one.revision != stable and one.health is not Health.STOPPING]


def _handle(carrier: Carrier, what: str) -> None:
    """Write it down; go on only where the service file says so.

    Raises:
        DriftError: It does not; not retried.
    """
    release = carrier.release
    carrier.write("drift", what=what, on_drift=release.service.on_drift)
    if release.service.on_drift == "abort":
        msg = f"{release.name}: somebody else changed it: {what} ('on_drift: reassert' writes it again)"
        raise DriftError(msg)
