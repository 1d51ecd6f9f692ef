"""Judge: a canary config decided as Kayenta's ``NetflixACAJudge-v1.0`` does, faults included.

Each pair of series is prepared (`clean`), compared (`differences`) and classified here, then scored
(`score`). What Kayenta gets wrong is mended in the davy judge, never here. Many pairs are judged at
once; each gets what it would get alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from tasks.domain.canary import CanaryConfig, Direction, EffectMeasure, MetricConfig, NanStrategy, Thresholds
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair
from tasks.judge.differences import Case, Difference, differences
from tasks.judge.judgement import Classification, Interval, Judgement, MetricResult, Score
from tasks.judge.score import Scored, classify_score, score

CONFIDENCE = 0.98
"""Of the interval of the shift."""
TOLERANCE = 0.25
"""The part of the shift's estimate by which its interval must be off 0."""


def judge_kayenta(
    config: CanaryConfig, pairs: Sequence[MetricPair], thresholds: Thresholds, *, seed: int = 0
) -> Judgement:
    """The verdict on *pairs*; a metric without one is in no result.

    Args:
        seed: Of the noise that two constants get; each pair draws its own.

    Raises:
        InputError: A pair's metric is not in the config; not retried.
    """
    metrics = _metrics_of(config, pairs)
    found = differences(pairs, metrics, CONFIDENCE, seed=seed)
    results = [
        _result(str(place), pair, metric, difference)
        for place, (pair, metric, difference) in enumerate(zip(pairs, metrics, found, strict=True))
    ]
    scored = score(results, config.group_weights)
    classification = classify_score(scored.score, thresholds)
    return Judgement(
        judge="kayenta",
        score=scored.score,
        classification=classification,
        reason=_reason(scored, classification, results, thresholds),
        groups=scored.groups,
        results=tuple(results),
        seed=seed,
        warnings=_warnings(config, pairs),
    )


def _warnings(config: CanaryConfig, pairs: Sequence[MetricPair]) -> tuple[str, ...]:
    judged = {pair.name for pair in pairs}
    return tuple(
        f"pairs: found none of {metric.name!r}, expected one of each metric; it counts for nothing"
        for metric in config.metrics
        if metric.name not in judged
    )


def _metrics_of(config: CanaryConfig, pairs: Sequence[MetricPair]) -> list[MetricConfig]:
    """The first metric of each pair's name."""
    by_name = {metric.name: metric for metric in reversed(config.metrics)}
    for place, pair in enumerate(pairs):
        if pair.name not in by_name:
            field, names = f"pairs.{place}.name", ", ".join(reversed(by_name))
            raise InputError(field, pair.name, f"one of the config's metrics: {names}")
    return [by_name[pair.name] for pair in pairs]


@dataclass(frozen=True)
class Label:
    """A pair's classification, and the reason where Kayenta gives one."""

    classification: Classification
    reason: str = ""
    critical: bool = False


def classify(metric: MetricConfig, found: Difference, *, tolerance: float = TOLERANCE) -> Label:
    """What a difference amounts to."""
    match found.case:
        case Case.EMPTY:
            return _without_data(metric)
        case Case.IDENTICAL:
            return Label(Classification.PASS, "The Canary and Baseline data are identical")
        case Case.ALL_TIED:
            return Label(Classification.ERROR, "Metric Classification Failed")
        case Case.COMPARED:
            return _compared(metric, found, tolerance * abs(found.estimate))
    return Label(Classification.PASS)


def classify_means(metric: MetricConfig, experiment: float, control: float) -> Classification:
    """By the means alone, as Kayenta's classifier for benchmarks does; no judge uses it."""
    if experiment > control and metric.direction is not Direction.DECREASE:
        return Classification.HIGH
    if experiment < control and metric.direction is not Direction.INCREASE:
        return Classification.LOW
    return Classification.PASS


def _without_data(metric: MetricConfig) -> Label:
    if metric.nan is NanStrategy.REPLACE:
        return Label(Classification.PASS)
    reason = f"Missing data for {metric.name}"
    if metric.must_have_data and not metric.critical:
        return Label(Classification.NODATA_FAIL, reason)
    return Label(Classification.NODATA, reason, metric.critical)


def _compared(metric: MetricConfig, found: Difference, bound: float) -> Label:
    """High is asked for first; without an effect only the interval counts.

    Args:
        bound: How far off 0 the shift's interval must be.
    """
    effect, unknown = metric.effect, isnan(found.effect)
    rises = metric.direction is not Direction.DECREASE and found.lower > bound
    falls = metric.direction is not Direction.INCREASE and found.upper < -bound
    if rises and (unknown or found.effect >= effect.allowed_increase):
        critical = unknown or found.effect >= effect.critical_increase
        return _failed(metric, Classification.HIGH, critical=critical)
    if falls and (unknown or found.effect <= effect.allowed_decrease):
        critical = unknown or found.effect <= effect.critical_decrease
        return _failed(metric, Classification.LOW, critical=critical)
    return Label(Classification.PASS)


def _failed(metric: MetricConfig, label: Classification, *, critical: bool) -> Label:
    if metric.critical and critical:
        return Label(label, f"The metric {metric.name} was classified as {label} (Critical)", critical=True)
    return Label(label, f"{metric.name} was classified as {label}")


def _result(number: str, pair: MetricPair, metric: MetricConfig, found: Difference) -> MetricResult:
    label = classify(metric, found)
    compared = found.case is Case.COMPARED
    effect = found.effect if metric.effect.measure is EffectMeasure.CLES else found.ratio
    return MetricResult(
        pair.name,
        number,
        label.classification,
        label.reason,
        tags=pair.tags,
        groups=metric.groups,
        critical=label.critical,
        muted=metric.muted,
        experiment=found.experiment,
        control=found.control,
        ratio=None if isnan(found.ratio) else found.ratio,
        interval=Interval(found.lower, found.estimate, found.upper, CONFIDENCE) if compared else None,
        effect=None if isnan(effect) or not compared else effect,
    )


def _reason(scored: Scored, label: Score, results: Sequence[MetricResult], thresholds: Thresholds) -> str:
    """Kayenta's own sentence where it has one."""
    if scored.failure:
        return scored.failure
    failed = [
        f"{result.name} {result.classification}"
        for result in results
        if result.classification not in (Classification.PASS, Classification.NODATA) and not result.muted
    ]
    needed = thresholds.marginal if label is Score.FAIL else thresholds.passing
    sentence = (
        f"score {scored.score:g}, {needed:g} needed to {'be marginal' if label is Score.FAIL else 'pass'}"
    )
    return f"{sentence}: {', '.join(failed)}" if failed else sentence
