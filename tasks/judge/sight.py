"""What each judged step of a plan is able to see, with the traffic that there is now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil

import pandas as pd

from tasks.domain.analysis import Comparison
from tasks.domain.model import Slot
from tasks.domain.pairs import Values
from tasks.domain.plan import Plan, PlannedStep
from tasks.domain.spec import ServiceFile
from tasks.domain.units import WHOLE
from tasks.judge.limits import buckets_of, figures_of, quantile
from tasks.judge.power import (
    Proof,
    quantile_requests_needed,
    requests_needed,
    smallest_detectable_quantile,
    smallest_detectable_rate,
)
from tasks.judge.standings import ERROR_RATE, proof_of
from tasks.judge.words import UNITS

LONG = 300
"""Seconds of a bake from which on it is told in minutes."""


@dataclass(frozen=True)
class Usual:
    """What stable does now.

    Attributes:
        request_rate: Per second.
        error_rate: 0 to 1.
        bounds: Upper bounds of the latency buckets in ms, the last one infinite; empty where unknown.
        counts: How many requests took at most so long.
    """

    request_rate: float
    error_rate: float
    bounds: Values
    counts: Values


@dataclass(frozen=True)
class Sight:
    """What one step is able to see of one metric, in the metric's unit.

    Attributes:
        usual: What stable has now; None where there is no traffic to tell.
        smallest: The smallest value of the candidate that is proven worse with the probability `Proof.power`;
            None where not even the worst is.
        bake: How long the step would have to bake to see `detect`; None where no time is enough, or nothing asked.
    """

    step: PlannedStep
    metric: str
    unit: str
    usual: float | None
    smallest: float | None
    detect: float | None
    bake: timedelta | None

    @property
    def is_blind(self) -> bool:
        """It cannot see what the service file asks for."""
        return self.detect is not None and (self.smallest is None or self.smallest > self.detect)


def usual_of(frame: pd.DataFrame, slot: Slot) -> Usual | None:
    """What *slot* did in *frame*; None where it had no requests."""
    figures = figures_of(frame, slot)
    if not figures.request_rate > 0:
        return None
    return Usual(figures.request_rate, figures.error_rate / 100, *buckets_of(frame, slot))


def sights_of(service: ServiceFile, plan: Plan, usual: Usual | None) -> Iterator[Sight]:
    """What each step with two versions side by side can see of each metric that is compared."""
    for step in plan.steps:
        for metric, asked in service.analysis.compare.items() if step.beside else ():
            yield _sight(step, metric, asked, usual, proof_of(service, plan))


def _sight(step: PlannedStep, metric: str, asked: Comparison, usual: Usual | None, threshold: float) -> Sight:
    blind = Sight(step, metric, UNITS[metric].strip(), None, None, asked.detect, None)
    if usual is None:
        return blind
    return (_rate if metric == ERROR_RATE else _latency)(blind, asked, usual, threshold)


def _rate(blind: Sight, asked: Comparison, usual: Usual, threshold: float) -> Sight:
    """Percent outside, 0 to 1 in the tests."""
    candidate, other = _requests(blind.step, usual)
    rate, proof = usual.error_rate, Proof(asked.tolerance / 100, asked.floor / 100, threshold)
    smallest = smallest_detectable_rate(rate, candidate, other, proof=proof)
    ratio = other / max(candidate, 1)
    needed = asked.detect and requests_needed(rate, asked.detect / 100, ratio, proof=proof)
    return replace(
        blind,
        usual=100 * rate,
        smallest=None if smallest is None else 100 * smallest,
        bake=_bake(blind.step, usual, needed),
    )


def _latency(blind: Sight, asked: Comparison, usual: Usual, threshold: float) -> Sight:
    """Milliseconds; nothing is known without buckets."""
    bounds, counts, q = usual.bounds, usual.counts, int(blind.metric.removeprefix("latency_p")) / 100
    if not len(bounds) or not counts[-1]:
        return blind
    candidate, other = _requests(blind.step, usual)
    proof, ratio = Proof(asked.tolerance / 100, asked.floor, threshold), other / max(candidate, 1)
    smallest = smallest_detectable_quantile(bounds, counts, q, candidate, other, proof=proof)
    needed = asked.detect and quantile_requests_needed(bounds, counts, q, asked.detect, ratio, proof=proof)
    value, _ = quantile(bounds, counts, q)
    return replace(blind, usual=value, smallest=smallest, bake=_bake(blind.step, usual, needed))


def _requests(step: PlannedStep, usual: Usual) -> tuple[int, int]:
    """How many the new version and the one beside it will get while the step bakes."""
    seconds = step.bake.total_seconds()
    shares = (step.share or step.copies, step.beside)
    candidate, other = (int(usual.request_rate * seconds * share / WHOLE) for share in shares)
    return candidate, other


def _bake(step: PlannedStep, usual: Usual, requests: float | None) -> timedelta | None:
    """How long it takes until the new version has had so many requests, in whole seconds, or minutes."""
    if requests is None:
        return None
    seconds = requests * WHOLE / (usual.request_rate * (step.share or step.copies))
    unit = 1 if seconds < LONG else 60
    return timedelta(seconds=ceil(seconds / unit) * unit)
