"""Judge: a Kayenta canary config, by the judge that the service file names. Pure.

The score alone decides; what became of each metric is in the evidence, and in the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import Any

from tasks.domain.analysis import CanaryJudge
from tasks.domain.model import Finding, Result, Slot, Verdict, Window
from tasks.domain.pairs import MetricPair, Series
from tasks.judge.canary_config import read_config
from tasks.judge.davy import judge_davy
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
    judgement = JUDGES[terms.judge](config, pairs, terms.thresholds, seed=seed)
    reason = f"canary config {config.name or 'without a name'}: {judgement.reason}"
    finding = Finding("canary score", slot, RESULTS[judgement.classification], judgement.score, reason)
    evidence = {
        "canary": terms.model_dump(mode="json"),
        "judgement": plain(asdict(judgement)) | {"warnings": [*warnings, *judgement.warnings]},
        "pairs": [_pair(pair, window.start, terms.step.total_seconds()) for pair in pairs],
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
