"""Kayenta's canary configs as values: what is measured, how it is compared, how it is scored.

The words are Kayenta's: *experiment* is the candidate, *control* is what it is held against
(the baseline, or stable). Free of numpy, so that every process can hold one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Direction(StrEnum):
    """Which way a metric gets worse."""

    INCREASE = "increase"
    DECREASE = "decrease"
    EITHER = "either"


class NanStrategy(StrEnum):
    """What becomes of missing values: left out, or taken as 0 (errors that did not happen)."""

    REMOVE = "remove"
    REPLACE = "replace"


class OutlierStrategy(StrEnum):
    """What becomes of extreme values."""

    REMOVE = "remove"
    KEEP = "keep"


class EffectMeasure(StrEnum):
    """How the size of a difference is told."""

    MEAN_RATIO = "meanRatio"
    CLES = "cles"

    @property
    def neutral(self) -> float:
        """Its value when nothing differs."""
        return 1.0 if self is EffectMeasure.MEAN_RATIO else 0.5


@dataclass(frozen=True)
class EffectSize:
    """How large a difference must be to count, and to be critical.

    Attributes:
        allowed_increase: High needs at least this effect.
        allowed_decrease: Low needs at most this effect.
    """

    measure: EffectMeasure = EffectMeasure.MEAN_RATIO
    allowed_increase: float = 1.0
    allowed_decrease: float = 1.0
    critical_increase: float = 1.0
    critical_decrease: float = 1.0


@dataclass(frozen=True)
class MetricConfig:
    """One metric of a canary config.

    Attributes:
        query: As the config has it; ``type`` selects its shape.
        scope: The request scope it is fetched for (``scopeName``).
        outlier_factor: Interquartile ranges beyond which a value is an outlier.
        critical: When it fails, the canary scores 0.
        must_have_data: Without data it fails.
        muted: Reported, never scored.
    """

    name: str
    query: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    scope: str = ""
    direction: Direction = Direction.EITHER
    nan: NanStrategy = NanStrategy.REMOVE
    outliers: OutlierStrategy = OutlierStrategy.KEEP
    outlier_factor: float = 3.0
    effect: EffectSize = EffectSize()
    critical: bool = False
    must_have_data: bool = False
    muted: bool = False


@dataclass(frozen=True)
class Thresholds:
    """Scores, 0 to 100, from which a canary passes, or is at least marginal."""

    passing: float = 95.0
    marginal: float = 75.0


@dataclass(frozen=True)
class CanaryConfig:
    """A canary config.

    Attributes:
        judge: The name of the judge that it asks for, as it is written there.
        templates: Text by name, for queries.
        group_weights: Percent by group.
    """

    name: str
    metrics: tuple[MetricConfig, ...]
    judge: str = ""
    templates: Mapping[str, str] = field(default_factory=dict)
    group_weights: Mapping[str, float] = field(default_factory=dict)
