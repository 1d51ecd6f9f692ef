"""What a release will do, step by step, before it does it: for people and for `davy plan`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil

from tasks.domain.kubernetes import ReplicasRouter
from tasks.domain.spec import BlueGreen, BlueGreenCanary, Canary, Rolling, ServiceFile
from tasks.domain.units import WHOLE, format_share

SINGLE = timedelta(0)


@dataclass(frozen=True)
class PlannedStep:
    """One share that will be held.

    Attributes:
        what: The step in words.
        share: The new version's share, basis points; the one that it really gets.
        bake: How long it is held before it is judged.
        replicas: How many replicas of all versions run then.
        beside: Share of the version that the new one is compared with, basis points; 0 for none.
        copies: Basis points of users' requests that are copied to the new version.
        moves: How many other shares are passed on the way to this one.
    """

    what: str
    share: int
    bake: timedelta
    replicas: int
    beside: int = 0
    copies: int = 0
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
        return sum(1 + step.moves for step in self.steps if step.beside)

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
            what, beside = "a trickle to the new colour", WHOLE - trickle.share
            step = PlannedStep(what, trickle.share, trickle.bake, 2 * replicas, beside=beside)
            steps.append(_possible(service, step, replicas, replicas))
            steps.append(
                PlannedStep("all traffic to the new colour, watched", WHOLE, service.watch, 2 * replicas)
            )
        case Canary():
            steps += _canary(service, replicas)
    return Plan(tuple(steps))


def _looks(service: ServiceFile, replicas: int) -> Iterator[PlannedStep]:
    if service.mirror:
        what = "copies of users' requests to the new version"
        copies = service.mirror.share
        yield PlannedStep(what, 0, service.mirror.bake, 2 * replicas, beside=WHOLE, copies=copies)


def _rolling(service: Rolling, replicas: int) -> Iterator[PlannedStep]:
    for batch in service.batches(replicas):
        what = f"{batch.new} of {replicas} replicas replaced"
        room, beside = batch.room + batch.new, WHOLE - batch.share
        step = PlannedStep(what, batch.share, service.bake, room, beside=beside, moves=1)
        yield _possible(service, step, batch.new, batch.room)


def _canary(service: Canary, replicas: int) -> Iterator[PlannedStep]:
    for step in service.steps:
        small = max(1, ceil(step.share * replicas / WHOLE))
        baseline = service.has_baseline(step.share)
        what = "candidate beside a baseline" if baseline else "candidate beside stable"
        beside = step.share if baseline else WHOLE - step.share
        planned = PlannedStep(what, step.share, step.bake, replicas + small * (1 + baseline), beside=beside)
        yield _possible(service, planned, small, small if baseline else replicas)
    if service.promote:
        last = service.steps[-1].share
        small = max(1, ceil(last * replicas / WHOLE)) * (1 + service.has_baseline(last))
        yield PlannedStep("promoted: all traffic, watched", WHOLE, service.watch, 2 * replicas + small)


def _possible(service: ServiceFile, step: PlannedStep, new: int, beside: int) -> PlannedStep:
    """*step* with the shares that it really has, where the number of replicas is what splits requests.

    Args:
        new: Replicas of the new version while it is held.
        beside: Those of the version that it is compared with.
    """
    if not isinstance(service.router, ReplicasRouter) or step.share == WHOLE:
        return step
    share = WHOLE * new // step.replicas
    words = f"{step.what} (asked for {format_share(step.share)}: the nearest that replicas give)"
    what = step.what if share == step.share else words
    return replace(step, what=what, share=share, beside=WHOLE * beside // step.replicas)
