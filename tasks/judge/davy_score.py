"""The davy judge's scores: from classifications to groups, and from groups to a verdict.

A metric that is not decided may turn out either way, so a score is two numbers: the least and the
most that it can be. The verdict is what both say; where they differ, it is inconclusive. The
least one is reported, so that nobody takes what is not known for a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from tasks.domain.canary import CanaryConfig, Thresholds
from tasks.domain.errors import InputError
from tasks.judge.judgement import Classification, GroupScore, Judgement, MetricResult, Score
from tasks.judge.score import classify_score
from tasks.judge.words import number

FAILED = (Classification.HIGH, Classification.LOW, Classification.NODATA_FAIL)
UNDECIDED = (Classification.INCONCLUSIVE, Classification.ERROR)
UNGROUPED = "(no group)"
"""Where metrics without a group are counted."""

_WHOLE = 100.0


@dataclass(frozen=True)
class _Group:
    """A group's weight, of which it may get the least or the most; without data that is all or nothing."""

    name: str
    weight: float
    passed: int
    undecided: int
    counted: int

    @property
    def least(self) -> float:
        return _WHOLE * self.passed / self.counted if self.counted else 0.0

    @property
    def most(self) -> float:
        return _WHOLE * (self.passed + self.undecided) / self.counted if self.counted else _WHOLE


_NOTHING = _Group("", weight=1.0, passed=0, undecided=0, counted=0)
"""What is known when no group has a weight."""


def score(config: CanaryConfig, results: Sequence[MetricResult], thresholds: Thresholds) -> Judgement:
    """The whole verdict on *results*.

    Raises:
        InputError: A weight is negative or not a number; not retried.
    """
    groups, warnings = _groups(config, results)
    weighted = [group for group in groups if group.weight] or [_NOTHING]
    weights = [group.weight for group in weighted]
    least = round(fmean([group.least for group in weighted], weights), 2)
    most = round(fmean([group.most for group in weighted], weights), 2)
    scored = [result for result in results if not result.muted]
    critical = next((result for result in scored if result.critical), None)
    if critical:
        least, said, reason = 0.0, Score.FAIL, f"critical: {critical.reason}"
    else:
        said, reason = _verdict(least, most, _open(config, scored, groups), scored, thresholds)
    told = (
        GroupScore(group.name, round(group.least, 2) if group.counted else None, _told(group))
        for group in groups
    )
    return Judgement("davy", least, said, reason, tuple(told), tuple(results), warnings=tuple(warnings))


def _verdict(
    least: float, most: float, questions: list[str], scored: Sequence[MetricResult], thresholds: Thresholds
) -> tuple[Score, str]:
    """What holds whichever way the open questions are answered, and why."""
    worst, best = classify_score(least, thresholds), classify_score(most, thresholds)
    failed = [result.reason for result in scored if result.classification in FAILED]
    if best is Score.FAIL:
        return best, f"score {number(most)}, below {number(thresholds.marginal)}: {'; '.join(failed)}"
    undecided = [f"{result.name}: {result.needed}" for result in scored if result.classification in UNDECIDED]
    if questions or worst is not best:
        return Score.INCONCLUSIVE, (
            f"score is {number(least)} to {number(most)}; needed: {'; '.join(questions + undecided)}"
        )
    reason = f"score {number(least)}, at least {number(thresholds.passing)} passes"
    return best, "; ".join([reason, *failed, *undecided])


def _open(config: CanaryConfig, scored: Sequence[MetricResult], groups: Sequence[_Group]) -> list[str]:
    """What no score can outweigh: nothing at all, errors, groups without data, critical metrics."""
    critical = {metric.name for metric in config.metrics if metric.critical}
    found = [f"data of group {group.name}" for group in groups if group.weight and not group.counted]
    found += [
        f"{result.name}, which is critical: {result.needed}"
        for result in scored
        if result.name in critical and result.classification in (*UNDECIDED, Classification.NODATA)
    ]
    found += [result.reason for result in scored if result.classification is Classification.ERROR]
    if not any(group.weight for group in groups):
        found.append("a metric that is not muted, in a group that has a weight")
    return found


def _told(group: _Group) -> str:
    if not group.counted:
        return "no data"
    return f"{group.undecided} of {group.counted} not decided" if group.undecided else ""


def _groups(config: CanaryConfig, results: Sequence[MetricResult]) -> tuple[list[_Group], list[str]]:
    """Groups with something to score, in the config's order, and what was odd.

    Groups without a weight share what the others leave of 100.

    Raises:
        InputError: A weight is negative or not a number; not retried.
    """
    weights = dict(config.group_weights)
    for name, weight in weights.items():
        if not (isfinite(weight) and weight >= 0):
            field = f"groupWeights.{name}"
            raise InputError(field, weight, "a number from 0")
    members: dict[str, list[MetricResult]] = {name: [] for name in weights}
    for result in results:
        for name in result.groups or (UNGROUPED,):
            members.setdefault(name, []).append(result)
    free = [name for name in members if name not in weights]
    left = max(_WHOLE - sum(weights.values()), 0.0)
    weights |= dict.fromkeys(free, left / max(len(free), 1))
    muted = [name for name, found in members.items() if found and all(result.muted for result in found)]
    groups = [_group(name, weights[name], members[name]) for name in members if name not in muted]
    return groups, _warnings(weights, free, muted)


def _group(name: str, weight: float, members: Sequence[MetricResult]) -> _Group:
    found = [result.classification for result in members if not result.muted]
    passed = found.count(Classification.PASS)
    undecided = sum(map(found.count, UNDECIDED))
    return _Group(name, weight, passed, undecided, passed + undecided + sum(map(found.count, FAILED)))


def _warnings(weights: dict[str, float], free: Sequence[str], muted: Sequence[str]) -> list[str]:
    total = sum(weights.values())
    found = []
    if abs(total - _WHOLE) > 1e-9:  # noqa: PLR2004 - rounding
        found.append(f"groupWeights: found {number(total)} in all, expected 100; taken in proportion")
    found += [
        f"groupWeights.{name}: found nothing, and nothing left of 100; it does not count"
        for name in free
        if not weights[name]
    ]
    found += [f"groupWeights.{name}: found only muted metrics, it does not count" for name in muted]
    return found
