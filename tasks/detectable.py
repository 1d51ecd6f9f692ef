"""Before a release begins: whether its steps are able to see what the service file asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tasks.domain.errors import InputError, TransientError
from tasks.domain.model import Revision, Window
from tasks.domain.plan import Plan, plan_of
from tasks.domain.spec import ServiceFile
from tasks.domain.units import format_duration
from tasks.metrics import open_metrics

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who need it
    from tasks.judge.sight import Sight

LOOK_BACK = timedelta(minutes=10)
"""Whose traffic is taken for the traffic to come."""


def sights(service: ServiceFile, stable: Revision, plan: Plan) -> list[Sight]:
    """What each step that compares is able to see, from stable's traffic of the last minutes.

    Nothing is known of a source that is away or has no traffic.
    """
    from tasks.judge.sight import sights_of, usual_of  # noqa: PLC0415 - as above

    now = datetime.now(UTC)
    try:
        frame = open_metrics(service).fetch([stable.slot], Window(now - LOOK_BACK, now))
        usual = usual_of(frame, stable.slot)
    except TransientError:
        usual = None
    return list(sights_of(service, plan, usual))


def refuse_blind(service: ServiceFile, stable: Revision | None, replicas: int) -> None:
    """Make sure that every judged step can see what the service file asks for, where it asks.

    Raises:
        InputError: One can't, and the service file does not settle for a warning; not retried.
    """
    plan = plan_of(service, replicas)
    refuse_short(service, plan)
    asked = any(comparison.detect is not None for comparison in service.analysis.compare.values())
    if stable is None or not asked or service.analysis.weak_gate == "warn":
        return
    blind = next((sight for sight in sights(service, stable, plan) if sight.is_blind), None)
    if blind:
        field = f"analysis.compare.{blind.metric}.detect"
        raise InputError(field, blind.detect, remedy(blind))


def refuse_short(service: ServiceFile, plan: Plan) -> None:
    """Make sure that every step bakes for at least one point of the canary config's series.

    Raises:
        InputError: One is shorter; not retried.
    """
    canary = service.analysis.canary
    short = [step for step in plan.steps if canary and step.beside and step.bake < canary.step]
    if canary and short:
        bake = format_duration(short[0].bake)
        raise InputError("analysis.canary.step", format_duration(canary.step), f"at most the bake of {bake}")


def remedy(blind: Sight) -> str:
    """What would let the step see it, in words."""
    step = f"the step {blind.step.what!r}"
    if blind.usual is None:
        return f"traffic on stable in the last {format_duration(LOOK_BACK)}, of which {step} could tell what it sees; 'weak_gate: warn' goes on without"
    sees = (
        "sees no regression at all"
        if blind.smallest is None
        else f"sees {blind.smallest:.3g} {blind.unit} or more"
    )
    longer = (
        "no bake is long enough"
        if blind.bake is None
        else f"a bake of {format_duration(blind.bake)} would see it"
    )
    return f"what {step} can see: with today's traffic it {sees}; {longer}; 'weak_gate: warn' goes on all the same"
