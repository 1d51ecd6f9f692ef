"""What a release will do, step by step, before it does it: for people and for `davy plan`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from tasks.domain.spec import BlueGreen, BlueGreenCanary, Canary, Rolling, ServiceFile
from tasks.domain.units import WHOLE

SINGLE = timedelta(0)


@dataclass(frozen=True)
class PlannedStep:
    """One share that will be held.

    Attributes:
        what: The step in words.
        share: The new version's share, basis points.
        bake: How long it is held before it is judged.
        replicas: How many replicas of all versions run then.
        moves: How many other shares are passed on the way to this one.
    """

    what: str
    share: int
    bake: timedelta
    replicas: int
    moves: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything a release will do when all goes well."""

    steps: tuple[PlannedStep, ...]

    @property
    def duration(self) -> timedelta:
        """How long it bakes in all; starting replicas comes on top."""
        return sum((step.bake for step in self.steps), timedelta(0))

    @property
    def compared(self) -> int:
        """How often two versions have traffic side by side: once for each share, and on the way to it."""
        return sum(1 + step.moves for step in self.steps if step.share < WHOLE)

    @property
    def surge(self) -> int:
        """The most replicas that run at once."""
        return max(step.replicas for step in self.steps)


def plan_of(service: ServiceFile, replicas: int, *, first: bool = False) -> Plan:
    """The plan for *service* when *replicas* copies of stable run.

    Args:
        first: The service has no stable version, so its first one comes without steps.
    """
    if first:
        return Plan((PlannedStep("first version, all traffic", WHOLE, SINGLE, service.replicas),))
    steps = list(_looks(service, replicas))
    match service:
        case Rolling():
            steps += _rolling(service, replicas)
        case BlueGreen():
            steps.append(
                PlannedStep("all traffic to the new colour, watched", WHOLE, service.watch, 2 * replicas)
            )
        case BlueGreenCanary():
            trickle = service.trickle
            steps.append(
                PlannedStep("a trickle to the new colour", trickle.share, trickle.bake, 2 * replicas)
            )
            steps.append(
                PlannedStep("all traffic to the new colour, watched", WHOLE, service.watch, 2 * replicas)
            )
        case Canary():
            steps += _canary(service, replicas)
    return Plan(tuple(steps))


def _looks(service: ServiceFile, replicas: int) -> Iterator[PlannedStep]:
    if service.mirror:
        what = "copies of users' requests to the new version"
        yield PlannedStep(what, 0, service.mirror.bake, 2 * replicas)


def _rolling(service: Rolling, replicas: int) -> Iterator[PlannedStep]:
    for batch in service.batches(replicas):
        what = f"{batch.new} of {replicas} replicas replaced"
        yield PlannedStep(what, batch.share, service.bake, batch.room + batch.new, moves=1)


def _canary(service: Canary, replicas: int) -> Iterator[PlannedStep]:
    for step in service.steps:
        small = max(1, ceil(step.share * replicas / WHOLE))
        beside = service.has_baseline(step.share)
        what = "candidate beside a baseline" if beside else "candidate beside stable"
        yield PlannedStep(what, step.share, step.bake, replicas + small * (1 + beside))
    if service.promote:
        last = service.steps[-1].share
        small = max(1, ceil(last * replicas / WHOLE)) * (1 + service.has_baseline(last))
        yield PlannedStep("promoted: all traffic, watched", WHOLE, service.watch, 2 * replicas + small)
