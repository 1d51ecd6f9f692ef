"""Kayenta's scores: of each group of metrics, and of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from tasks.domain.canary import Thresholds
from tasks.judge.judgement import Classification, GroupScore, MetricResult, Score

MOST_NODATA = 0.5
"""From this part of all metrics on, those without data fail the canary."""
_COUNTED = {
    Classification.PASS: 1,
    Classification.HIGH: 0,
    Classification.LOW: 0,
    Classification.NODATA_FAIL: 0,
}


@dataclass(frozen=True)
class Scored:
    """The whole, 0 to 100 as long as the weights add up to 100. *failure* says what failed it at once."""

    score: float
    groups: tuple[GroupScore, ...]
    failure: str = ""


def score(results: Sequence[MetricResult], weights: Mapping[str, float]) -> Scored:
    """Score *results*, less the muted ones.

    Args:
        weights: Percent by group; those without one share what is left to 100 equally. Nothing is
            normalised, a group without any counted metric counts as 100, and one that no metric is
            in loses its weight.
    """
    counted = [result for result in results if not result.muted]
    groups = tuple(_group(name, counted) for name in dict.fromkeys(_groups_of(counted)))
    if failure := _failure(counted):
        return Scored(0.0, groups, failure)
    free = sum(group.name not in weights for group in groups)
    share = (100 - sum(weights.values())) / free if free else 0.0
    scores = (100.0 if group.score is None else group.score for group in groups)
    total = sum(
        value * weights.get(group.name, share) / 100 for value, group in zip(scores, groups, strict=True)
    )
    return Scored(_rounded(total), groups)


def classify_score(found: float, thresholds: Thresholds) -> Score:
    """What a score of 0 to 100 amounts to; meeting a threshold is enough."""
    if found >= thresholds.passing:
        return Score.PASS
    return Score.MARGINAL if found >= thresholds.marginal else Score.FAIL


def _groups_of(results: Sequence[MetricResult]) -> list[str]:
    return [name for result in results for name in result.groups]


def _group(name: str, results: Sequence[MetricResult]) -> GroupScore:
    """A metric counts in each of its groups, once for each time that it names it."""
    passes = [
        _COUNTED[result.classification]
        for result in results
        for group in result.groups
        if group == name and result.classification in _COUNTED
    ]
    if not passes:
        return GroupScore(name, None, "no data")
    return GroupScore(name, 100 * sum(passes) / len(passes), f"{sum(passes)} of {len(passes)} passed")


def _failure(results: Sequence[MetricResult]) -> str:
    if not results:
        return "Canary Failed: no metric counts"
    for result in results:
        if result.critical and result.classification is not Classification.PASS:
            return f"Canary Failed: {result.reason}"
    missing = sum(result.classification is Classification.NODATA for result in results)
    if missing >= MOST_NODATA * len(results):
        return "Canary Failed: 50% or more metrics returned NODATA"
    return ""


def _rounded(value: float) -> float:
    """Half-up to two decimals, of the shortest decimal that reads as *value*."""
    return float(Decimal(repr(value)).quantize(Decimal("0.01"), ROUND_HALF_UP))
