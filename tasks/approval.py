"""Approvals: what a gate asks for, what people say there, and whether it still holds. Needs no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.domain.errors import ConflictError, InputError, TransientError
from tasks.domain.gates import Choice, Decision, OpenGate, Ruling, digest_of
from tasks.domain.model import Revision
from tasks.domain.plan import plan_of
from tasks.domain.units import format_duration
from tasks.journal import Journal
from tasks.record import Record
from tasks.release import Carrier


def open_gate(carrier: Carrier, revision: Revision, point: str) -> OpenGate | None:
    """The gate at *point*, open for the plan as it is now; None where that was approved already.

    A plan that has changed since voids what was said; the journal says so, and the gate begins anew.

    Raises:
        TransientError: The fleet does not answer; retried.
        LeaseLostError: Another carrier took over; not retried.
    """
    record = carrier.record
    images = images_of(carrier, revision) or known_images(record)
    plan = digest_of(approvable(record, images))
    gate, terms = record.gate, record.service.gates
    if is_passed(record, point, plan):
        return None
    if gate and gate.point == point and gate.plan == plan:
        return gate
    if gate and gate.point == point:
        why = f"found images {', '.join(images)}, expected {', '.join(known_images(record))}"
        carrier.write("void", point, reason=f"the plan has changed since the gate opened: {why}")
    deadline = datetime.now(UTC) + (terms.within if terms else timedelta(0))
    carrier.write("gate", point, plan=plan, deadline=deadline.isoformat(), images=images)
    return open_gate(carrier, revision, point)


def approvable(record: Record, images: Sequence[str]) -> dict[str, Any]:
    """What an approval is bound to: service file, version and what it really runs, stable, steps."""
    opening = record.opening
    steps = plan_of(opening.service, opening.replicas).steps
    return {
        "service": opening.service.model_dump(mode="json"),
        "version": opening.version,
        "images": list(images),
        "stable": opening.stable.version if opening.stable else None,
        "steps": [[step.what, step.share, format_duration(step.bake)] for step in steps],
    }


def images_of(carrier: Carrier, revision: Revision) -> list[str]:
    """The images that *revision*'s replicas run, by digest; none where they run none, or it is not known now."""
    there = (replica for replica in carrier.fleet.observe() if replica.revision == revision)
    return sorted({replica.image for replica in there if replica.image})


def known_images(record: Record) -> list[str]:
    """Those that the last gate was opened with."""
    line = record.last("gate")
    return list(line.data["images"]) if line else []


def is_passed(record: Record, point: str, plan: str) -> bool:
    """Whether the gate at *point* was approved for this very plan."""
    ruling = record.gate_of(point)
    return ruling is not None and ruling.data["approved"] and ruling.data["plan"] == plan


def ruling_of(record: Record) -> Ruling | None:
    """What the open gate has come to by now; None while it waits."""
    return record.gate.ruling(record.decisions, datetime.now(UTC)) if record.gate else None


def decide(
    journal: Journal,
    choice: Choice,
    *,
    by: str,
    reason: str,
    plan: str = "",
    verified: bool = False,
    held_for: timedelta = timedelta(0),
) -> Decision:
    """Write what a person says at the gate that a release waits at.

    Args:
        plan: The hash of the plan that was shown; empty for the one that the gate was opened with.
        verified: It is known to be *by*.
        held_for: With ``hold``, for how long.

    Raises:
        ConflictError: The release waits at no gate; not retried.
        InputError: It would not count; nothing was written; not retried.
        TransientError: Others kept writing to the journal; retried.
    """
    record = Record.read(journal)
    gate = record.gate
    if gate is None or record.reverting or record.abort_asked or record.ended:
        msg = f"{journal.release}: found it to wait at no gate, expected one to decide at"
        raise ConflictError(msg)
    said = Decision(datetime.now(UTC), choice, by.strip(), reason, verified, plan or gate.plan, held_for)
    if refusal := gate.refusal(said):
        raise InputError("by" if said.plan == gate.plan else "plan", said.by, f"another decision: {refusal}")
    if choice is Choice.HOLD and held_for <= timedelta(0):
        raise InputError("hold", format_duration(held_for), "how much longer to wait, such as 30m")
    journal.append(
        "decision",
        gate.point,
        choice=choice,
        by=said.by,
        reason=reason,
        verified=verified,
        plan=said.plan,
        held_for=format_duration(held_for),
    )
    return said


def close_gate(carrier: Carrier, revision: Revision, gate: OpenGate) -> Ruling | None:
    """Write what the gate has come to; None where it waits, or where its plan has changed meanwhile.

    Raises:
        LeaseLostError: Another carrier took over; not retried.
    """
    ruling = ruling_of(carrier.record)
    if ruling is None:
        return None
    try:
        if ruling.approved and open_gate(carrier, revision, gate.point) != gate:
            return None
    except TransientError:
        return None  # what runs cannot be asked now, so nothing says that it is what was approved
    carrier.write("ruling", gate.point, approved=ruling.approved, reason=ruling.reason, plan=gate.plan)
    return ruling
