"""The davy judge's sentences: why a metric got its classification, and what would settle it."""

from __future__ import annotations

from tasks.domain.canary import EffectMeasure
from tasks.judge.davy_evidence import Evidence, Side
from tasks.judge.judgement import Classification, Interval
from tasks.judge.words import number


def worse(evidence: Evidence, side: Side, *, ranks: bool, spikes: bool) -> str:
    """What got worse, by how much, and what was allowed.

    Args:
        ranks: The points as a whole say so.
        spikes: The spikes say so.
    """
    name, up, change = evidence.metric.name, side.label is Classification.HIGH, side.change
    moved = f"from {number(change.control)} to {number(change.experiment)} ({change.of} per point)"
    if ranks:
        told = f"{name} {'rose' if up else 'fell'} {moved}{_shift(evidence.interval, side)}"
        told += f"; {_spikes(evidence, side)}" if spikes else ""
    else:
        told = f"{name} {'spiked' if up else 'dipped'}: {_spikes(evidence, side)}; it went {moved}"
    return f"{told}, {_allowed(evidence, side)}{_infinite(evidence)}"


def passed(evidence: Evidence) -> str:
    """What was looked for and not found."""
    return (
        f"{evidence.metric.name}: nothing worse than allowed is proven; mean {number(evidence.experiment.mean)} "
        f"over {evidence.experiment.count} points, of the control {number(evidence.control.mean)}"
    )


def few(evidence: Evidence, needed: int) -> str:
    """How many points are missing."""
    found = sorted({evidence.experiment.count, evidence.control.count})
    return f"at least {needed} points a side, found {' and '.join(map(str, found))}"


def infinite(evidence: Evidence) -> str:
    """That the data is wrong."""
    return f"{evidence.metric.name} can't be passed on wrong data{_infinite(evidence)}"


def no_data(evidence: Evidence) -> str:
    """Which side is missing."""
    sides = {"experiment": evidence.experiment.count, "control": evidence.control.count}
    return f"{evidence.metric.name} has no data of the {' and the '.join(side for side in sides if not sides[side])}"


def _spikes(evidence: Evidence, side: Side) -> str:
    of_experiment, of_control = side.rise.spikes
    where = f"above {number(side.rise.fence)}"
    if side.label is Classification.LOW:
        where = f"below {number(-side.rise.fence)}"
    return (
        f"{of_experiment} of {evidence.experiment.count} points of the experiment "
        f"and {of_control} of {evidence.control.count} of the control lie {where}"
    )


def _allowed(evidence: Evidence, side: Side) -> str:
    size = evidence.metric.effect
    bound = size.allowed_increase if side.label is Classification.HIGH else size.allowed_decrease
    if size.measure is EffectMeasure.CLES:
        return f"larger in {number(100 * side.change.effect)} % of pairs, allowed {number(100 * bound)} %"
    return f"allowed {'+' if bound >= 1 else ''}{number(100 * (bound - 1))} %"


def _shift(interval: Interval | None, side: Side) -> str:
    """Left out where it includes no change: then it is how many points changed that tells, not how far."""
    if interval is None or (interval.lower if side.label is Classification.HIGH else -interval.upper) <= 0:
        return ""
    return f", shift {number(interval.lower)} to {number(interval.upper)} at {number(100 * interval.confidence)} %"


def _infinite(evidence: Evidence) -> str:
    if not any(evidence.infinite):
        return ""
    of_experiment, of_control = evidence.infinite
    return (
        f"; infinite are {of_experiment} of {evidence.experiment.count} points of the experiment "
        f"and {of_control} of {evidence.control.count} of the control"
    )
