"""What a judge of metric pairs says: scores, and why each metric got its classification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Classification(StrEnum):
    """What became of one metric. High and Low are failures; the last is only said by the davy judge."""

    PASS = "Pass"  # noqa: S105 - a classification, not a password
    HIGH = "High"
    LOW = "Low"
    NODATA = "Nodata"
    NODATA_FAIL = "NodataFailMetric"
    ERROR = "Error"
    INCONCLUSIVE = "Inconclusive"


class Score(StrEnum):
    """What became of the whole; the last is only said by the davy judge."""

    PASS = "Pass"  # noqa: S105 - likewise
    MARGINAL = "Marginal"
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True)
class Stats:
    """A prepared series in figures; all 0 when it is empty. `std` is the sample's (n - 1)."""

    min: float = 0.0
    max: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    count: int = 0


@dataclass(frozen=True)
class Interval:
    """The shift from control to experiment, in the metric's unit, at `confidence` (0 to 1)."""

    lower: float
    estimate: float
    upper: float
    confidence: float


@dataclass(frozen=True)
class MetricResult:
    """One pair's classification.

    Attributes:
        id: Tells pairs of the same metric apart.
        critical: It failed in a way that fails the canary.
        ratio: Mean of the experiment by mean of the control; None where there is none.
        effect: In the measure that the config asks for; None where it could not be told.
        needed: What would make an inconclusive result conclusive, in words.
    """

    name: str
    id: str
    classification: Classification
    reason: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    critical: bool = False
    muted: bool = False
    experiment: Stats = Stats()
    control: Stats = Stats()
    ratio: float | None = None
    interval: Interval | None = None
    effect: float | None = None
    needed: str = ""


@dataclass(frozen=True)
class GroupScore:
    """A group's score, 0 to 100; None without any metric that counts."""

    name: str
    score: float | None
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    """The whole verdict.

    Attributes:
        judge: Which one spoke: ``kayenta`` or ``davy``.
        score: 0 to 100, two decimals.
        reason: In one sentence.
        seed: Of the noise that was drawn, so that judging again gives the same.
        warnings: What the config leaves open or writes wrong, by field.
    """

    judge: str
    score: float
    classification: Score
    reason: str
    groups: tuple[GroupScore, ...] = ()
    results: tuple[MetricResult, ...] = ()
    seed: int = 0
    warnings: tuple[str, ...] = ()
