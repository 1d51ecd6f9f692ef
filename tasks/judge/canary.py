"""Judge: a Kayenta canary config, by the judge that the service file names. Pure.

The score alone decides; what became of each metric is in the evidence, and in the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from math import isfinite, nan
from typing import Any

import numpy as np

from tasks.domain.analysis import CanaryJudge
from tasks.domain.canary import CanaryConfig
from tasks.domain.model import Finding, Result, Slot, Verdict, Window
from tasks.domain.pairs import MetricPair, Series, Values
from tasks.judge.canary_config import read_config
from tasks.judge.davy import judge_davy
from tasks.judge.intervals import stops
from tasks.judge.judgement import Judgement, Score
from tasks.judge.kayenta import judge_kayenta
from tasks.judge.pairing import pair_series

JUDGES: Mapping[str, Callable[..., Judgement]] = {"davy": judge_davy, "kayenta": judge_kayenta}
"""The judges of metric pairs, by the name that a service file uses."""

RESULTS = {
    Score.PASS: Result.PASS,
    Score.MARGINAL: Result.MARGINAL,
    Score.FAIL: Result.FAIL,
    Score.INCONCLUSIVE: Result.INCONCLUSIVE,
}


def judge_canary(
    terms: CanaryJudge,
    control: Sequence[Series],
    experiment: Sequence[Series],
    *,
    slot: Slot,
    window: Window,
    seed: int,
) -> Verdict:
    """Judge both sides by the canary config.

    Args:
        slot: Where the experiment runs.
        window: Of the series, in whole steps.
        seed: Of the noise that Kayenta's judge draws.
    """
    config, warnings = read_config(terms.config, strict=terms.judge == "davy")
    points = (window.end - window.start) // terms.step
    pairs = pair_series(config, control, experiment, points=points)
    return _verdict(terms, config, warnings, pairs, slot=slot, start=window.start, seed=seed)


def ends_early(terms: CanaryJudge, verdict: Verdict) -> bool:
    """Whether a judgement in the middle of a step ends it: Kayenta's also ends where a score only meets marginal."""
    score = verdict.findings[0].value
    if terms.judge == "kayenta" and score is not None:
        return stops(score, terms.marginal_score)
    return verdict.result is Result.FAIL


def judge_canary_again(evidence: Mapping[str, Any]) -> Verdict:
    """The verdict on what `judge_canary` has put into a verdict's evidence."""
    terms = CanaryJudge.model_validate(evidence["canary"])
    config, warnings = read_config(terms.config, strict=terms.judge == "davy")
    pairs = [
        MetricPair(one["name"], _values(one["control"]), _values(one["experiment"]), one["tags"])
        for one in evidence["pairs"]
    ]
    start = datetime.fromisoformat(evidence["pairs"][0]["start"])
    slot, seed = Slot(evidence["canary_slot"]), evidence["judgement"]["seed"]
    return _verdict(terms, config, warnings, pairs, slot=slot, start=start, seed=seed)


def _verdict(
    terms: CanaryJudge,
    config: CanaryConfig,
    warnings: Sequence[str],
    pairs: Sequence[MetricPair],
    *,
    slot: Slot,
    start: datetime,
    seed: int,
) -> Verdict:
    judgement = JUDGES[terms.judge](config, pairs, terms.thresholds, seed=seed)
    reason = f"canary config {config.name or 'without a name'}: {judgement.reason}"
    finding = Finding("canary score", slot, RESULTS[judgement.classification], judgement.score, reason)
    evidence = {
        "canary": terms.model_dump(mode="json"),
        "canary_slot": str(slot),
        "judgement": plain(asdict(judgement)) | {"warnings": [*warnings, *judgement.warnings]},
        "pairs": [_pair(pair, start, terms.step.total_seconds()) for pair in pairs],
    }
    return Verdict(finding.result, (finding,), evidence)


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """*value* as JSON holds it: what is not a finite number becomes null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def _pair(pair: MetricPair, start: datetime, step: float) -> dict[str, Any]:
    return {
        "name": pair.name,
        "tags": dict(pair.tags),
        "start": start.isoformat(),
        "step": step,
        "control": plain(pair.control.tolist()),
        "experiment": plain(pair.experiment.tolist()),
    }


def _values(plain: Sequence[float | None]) -> Values:
    return np.array([nan if value is None else value for value in plain], dtype=np.float64)
