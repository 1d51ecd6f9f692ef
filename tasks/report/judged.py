"""Every verdict of a release, read back from its journal with the evidence that it was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from tasks.domain.analysis import CanaryJudge, Limit
from tasks.domain.canary import EffectMeasure
from tasks.domain.model import Finding, Result, Verdict
from tasks.domain.pairs import Values
from tasks.domain.units import to_percent
from tasks.journal import Line
from tasks.judge.canary_config import find
from tasks.judge.evidence import frame_of
from tasks.judge.judgement import Judgement, MetricResult
from tasks.judge.limits import judge_again
from tasks.judge.standings import Estimate
from tasks.record import Record

_judgements: TypeAdapter[Judgement] = TypeAdapter(Judgement)
_MEASURE = ("analysisConfigurations", "canary", "effectSize", "measure")
_verdicts: TypeAdapter[Verdict] = TypeAdapter(Verdict)


@dataclass(frozen=True)
class Compared:
    """A metric of the candidate beside the same of another slot.

    Attributes:
        log_worse: Natural logarithm of the evidence that it is worse than the bounds allow.
        threshold: The same of what proves it.
        tolerance: How many percent more than the other's value is still the same.
        floor: Up to this value the candidate is good whatever the other does.
    """

    metric: str
    slot: str
    against: str
    candidate: Estimate
    other: Estimate
    log_worse: float
    threshold: float
    tolerance: float
    floor: float
    unit: str

    @property
    def is_worse(self) -> bool:
        """It is proven that the candidate is worse than allowed."""
        return self.log_worse >= self.threshold

    @property
    def bound(self) -> float:
        """The highest value of the candidate that is still good, as far as the other's is known."""
        return max(self.other.value * (1 + self.tolerance / 100), self.floor)


@dataclass(frozen=True, eq=False)
class Pair:
    """A metric pair that was judged, and what became of it.

    Attributes:
        start: Of the first point.
        step: Between two points.
        control: In order of time, NaN where there is none.
        experiment: Likewise.
        is_cles: The result's effect is the part of comparisons in which the experiment is larger,
            not the ratio of the means.
    """

    name: str
    tags: Mapping[str, str]
    start: datetime
    step: timedelta
    control: Values
    experiment: Values
    result: MetricResult | None
    is_cles: bool = False


@dataclass(frozen=True, eq=False)
class Judged:
    """One verdict.

    Attributes:
        at: When it was given.
        key: The step that it ended; empty for a check of the guard.
        since: When the share that it judged became live.
        share: The new version's share then, in basis points.
        limits: By metric, what its findings were held against.
        frames: The series it rests on; see `tasks.metrics.base`.
        needed: From which score on a judgement passes.
    """

    at: datetime
    key: str
    since: datetime
    share: int
    verdict: Verdict
    limits: Mapping[str, Limit]
    frames: tuple[pd.DataFrame, ...] = ()
    compared: tuple[Compared, ...] = ()
    judgement: Judgement | None = None
    needed: float | None = None
    pairs: tuple[Pair, ...] = ()

    @property
    def name(self) -> str:
        """What judged: a step's end, or the guard meanwhile."""
        return "step" if self.key else "guard"

    @property
    def deciding(self) -> tuple[Finding, ...]:
        """The findings that made the verdict what it is; one that ends a step early may be stricter than all."""
        findings = self.verdict.findings
        exact = tuple(one for one in findings if one.result is self.verdict.result)
        return exact or tuple(one for one in findings if one.result is not Result.PASS)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "at": self.at.isoformat(),
            "by": self.name,
            "share": to_percent(self.share),
            "result": self.verdict.result,
            "reason": self.verdict.reason,
            "score": self.judgement.score if self.judgement else None,
        }


def judged_in(record: Record) -> tuple[Judged, ...]:
    """Every verdict of *record*, oldest first. Of the guard's checks a journal keeps those that failed."""
    return tuple(_judged(record, line) for line in record.lines if _is_verdict(line))


def _is_verdict(line: Line) -> bool:
    result = line.data.get("result")
    return line.kind == "check" or (
        line.kind == "outcome" and isinstance(result, Mapping) and "findings" in result
    )


def _judged(record: Record, line: Line) -> Judged:
    is_check = line.kind == "check"
    evidence: Mapping[str, Any] = line.data["evidence"] if is_check else line.data["result"]["evidence"]
    compared = tuple(_compared(one) for one in evidence.get("comparisons", ()))
    verdict = _check(line, compared) if is_check else _verdicts.validate_python(line.data["result"])
    since, share = _held(record, line.at)
    judgement = (
        _judgements.validate_python(_known(evidence["judgement"])) if evidence.get("judgement") else None
    )
    return Judged(
        at=line.at,
        key=line.key,
        since=since,
        share=share,
        verdict=verdict,
        limits=_limits(evidence),
        frames=tuple(frame_of(one["frame"]) for one in evidence.get("limits", ())),
        compared=compared,
        needed=CanaryJudge.model_validate(evidence["canary"]).pass_score if "canary" in evidence else None,
        judgement=judgement,
        pairs=tuple(_pairs(evidence, judgement)),
    )


def _limits(evidence: Mapping[str, Any]) -> dict[str, Limit]:
    held = [item for one in evidence.get("limits", ()) for item in one["limits"].items()]
    return {name: Limit.model_validate(limit) for name, limit in held}


def _check(line: Line, compared: Sequence[Compared]) -> Verdict:
    """A check's line names the metrics that failed; what they showed follows from its evidence."""
    limits = line.data["evidence"].get("limits", ())
    findings = [finding for one in limits for finding in judge_again(one).findings]
    told = [finding for finding in findings if finding.result is Result.FAIL]
    rest = [part for part in line.data["reason"].split("; ") if part not in {one.reason for one in told}]
    for metric in sorted(set(line.data["failed"]) - {finding.metric for finding in told}):
        reason = next((part for part in rest if part.startswith(base(metric))), line.data["reason"])
        worse = next((one for one in compared if one.is_worse and one.metric == base(metric)), None)
        slot, value = (worse.slot, worse.candidate.value) if worse else ("", None)
        findings.append(Finding(metric, slot, Result.FAIL, value, reason))
    return Verdict(Result.FAIL, tuple(findings), line.data["evidence"])


def base(metric: str) -> str:
    """The metric that a finding is about: one against another slot is about the same metric."""
    return metric.partition(" against ")[0]


def _held(record: Record, at: datetime) -> tuple[datetime, int]:
    """Since when the split at *at* was live, and the new version's share in it."""
    live = [line for line in record.all("live") if line.at <= at]
    if not live:
        return record.opened_at, 0
    return live[-1].at, new_share(record, live[-1].data["split"])


def new_share(record: Record, split: Mapping[str, int]) -> int:
    """What of *split* the new version has, in basis points."""
    stable = record.opening.stable
    old = {stable.slot, "baseline"} if stable else set()
    return sum(share for slot, share in split.items() if slot not in old)


def _compared(data: Mapping[str, Any]) -> Compared:
    def estimate(name: str) -> Estimate:
        found = data.get(name) or {}
        value, lower, upper = (found.get(key) for key in ("value", "lower", "upper"))
        return Estimate(_number(value, nan), _number(lower, nan), _number(upper, inf))

    return Compared(
        metric=data["metric"],
        slot=data["slot"],
        against=data["against"],
        candidate=estimate("candidate"),
        other=estimate("other"),
        log_worse=_number(data.get("log_worse"), nan),
        threshold=_number(data.get("threshold"), nan),
        tolerance=_number(data.get("tolerance"), 0.0),
        floor=_number(data.get("floor"), 0.0),
        unit=str(data.get("unit", "")).strip(),
    )


def _pairs(evidence: Mapping[str, Any], judgement: Judgement | None) -> Iterator[Pair]:
    results = (
        {_identity(result.name, result.tags): result for result in judgement.results} if judgement else {}
    )
    metrics = find(evidence, "canary", "config", "metrics")
    measures = {find(metric, "name"): find(metric, *_MEASURE) for metric in metrics or ()}  # type: ignore[attr-defined]  # a list, as JSON has it
    for pair in evidence.get("pairs", ()):
        yield Pair(
            name=pair["name"],
            tags=pair["tags"],
            start=datetime.fromisoformat(pair["start"]),
            step=timedelta(seconds=pair["step"]),
            control=np.array(pair["control"], dtype="float64"),
            experiment=np.array(pair["experiment"], dtype="float64"),
            result=results.get(_identity(pair["name"], pair["tags"])),
            is_cles=measures.get(pair["name"]) == EffectMeasure.CLES,
        )


def _identity(name: str, tags: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(tags.items())


def _known(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """A judgement's JSON with its nulls left to the defaults, but for those that mean NaN."""
    if isinstance(value, Mapping):
        floats = {"lower", "estimate", "upper", "min", "max", "mean", "std"}
        return {key: nan if each is None and key in floats else _known(each) for key, each in value.items()}
    return [_known(each) for each in value] if isinstance(value, list) else value


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)
