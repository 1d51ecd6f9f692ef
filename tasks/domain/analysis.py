"""The part of a service file that says what judges a version. Defaults stand here, in `parts` and in `spec` only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from tasks.domain.addresses import PlainUrl
from tasks.domain.canary import Thresholds
from tasks.domain.parts import Metrics, Part, PositiveDuration
from tasks.domain.units import Duration, Percent, Share, format_duration


class Limit(Part):
    """What one metric must keep to. At least one of ``max`` and ``min``."""

    max: float | None = Field(None, allow_inf_nan=False)
    """Highest value that is still good."""
    min: float | None = Field(None, allow_inf_nan=False)
    """Lowest value that is still good."""
    min_requests: int = Field(20, ge=1)
    """With fewer requests than this nothing is said."""
    failures: int = Field(0, ge=0)
    """How many failed checks the guard lets pass in one step."""

    @model_validator(mode="after")
    def _bounded(self) -> Limit:
        if self.max is None and self.min is None:
            msg = "found neither max nor min, expected at least one of them"
            raise ValueError(msg)
        if self.max is not None and self.min is not None and self.min > self.max:
            msg = f"found min {self.min:g} above max {self.max:g}, expected min <= max"
            raise ValueError(msg)
        return self


MetricName = Literal[
    "error_rate",
    "request_rate",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "restarts",
]
"""error_rate in percent; request_rate per second; latencies in milliseconds; restarts counted."""


ComparedName = Literal["error_rate", "latency_p50", "latency_p90", "latency_p95", "latency_p99"]
"""The metrics that candidate and baseline (or stable) can be compared by while they have traffic."""


class Comparison(Part):
    """How much worse than the version beside it the candidate may be: worse is above both bounds."""

    tolerance: Percent = 0.0
    """How many percent more than the other's value is still the same."""
    floor: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Up to this value, in the metric's unit, the candidate is good whatever the other does."""
    dispersion: float | None = Field(None, ge=1, allow_inf_nan=False)
    """How many errors or slow requests come together by one cause at most; learnt where it is left out,
    which is too bold about the first bursts."""
    detect: float | None = Field(None, gt=0, allow_inf_nan=False)
    """A candidate this bad, in the metric's unit, must be found by every judged step."""


class CanaryJudge(Part):
    """Judge each step by a Kayenta canary config too."""

    config: Annotated[Mapping[str, Any], WithJsonSchema({"type": ["string", "object"]})]
    """The canary config; in a file, its path, which counts from the service file's folder."""
    url: PlainUrl | None = None
    """The Prometheus that answers the config's queries; the one of ``metrics`` where it is left out."""
    judge: Literal["davy", "kayenta"] = "davy"
    """``kayenta`` decides as Kayenta's own judge does, faults included."""
    pass_score: float = Field(95, ge=0, le=100)
    """From this score on it passes."""
    marginal_score: float = Field(75, ge=0, le=100)
    """From this score on it is marginal, below it fails."""
    step: PositiveDuration = timedelta(seconds=60)
    """Between two points of a series."""
    interval: Duration = timedelta(0)
    """Judge so often while a step bakes, and go back at once where that fails; 0s for its end only."""
    lookback: Duration = timedelta(0)
    """Judge only so much before each judgement; 0s for all since the step began."""
    scope: str = "{service}/{slot}"
    """What a query's ``${scope}`` stands for; ``{service}``, ``{slot}`` and ``{version}`` are filled in."""
    location: str = ""
    """What a query's ``${location}`` stands for."""
    parameters: Mapping[str, str] = {}
    """What a query's other variables stand for; the same fields are filled in."""

    def filled(self, text: str, service: str, slot: str, version: str) -> str:
        """*text* with its fields filled in."""
        return text.format(service=service, slot=slot, version=version)

    @property
    def thresholds(self) -> Thresholds:
        """Both scores."""
        return Thresholds(self.pass_score, self.marginal_score)

    @model_validator(mode="after")
    def _fillable(self) -> CanaryJudge:
        for text in (self.scope, *self.parameters.values()):
            try:
                self.filled(text, "", "", "")
            except (KeyError, IndexError, ValueError) as error:
                msg = f"scope: found {text!r}, expected no fields but {{service}}, {{slot}} and {{version}}"
                raise ValueError(msg) from error
        return self

    @model_validator(mode="after")
    def _ordered(self) -> CanaryJudge:
        if self.interval and self.interval < self.step:
            msg = f"interval: found {format_duration(self.interval)}, expected at least step, {format_duration(self.step)}"
            raise ValueError(msg)
        if self.marginal_score > self.pass_score:
            msg = f"found marginal_score {self.marginal_score:g} above pass_score {self.pass_score:g}, expected marginal_score <= pass_score"
            raise ValueError(msg)
        return self


class Analysis(Part):
    """What judges the candidate: in every check of the guard and at the end of each step."""

    metrics: Metrics = Metrics()
    limits: Mapping[MetricName, Limit] = Field(
        {"error_rate": Limit(max=1.0), "restarts": Limit(max=0)}, min_length=1
    )
    """By metric, what the candidate must keep to; at least one."""
    compare: Mapping[ComparedName, Comparison] = {"error_rate": Comparison(tolerance=20, floor=0.5)}
    """By metric, how much worse than the baseline (or stable) the candidate may be."""
    error_probability: Percent = Field(1.0, gt=0, lt=50)
    """How likely, in percent, the comparisons of a whole release may take back a version that is not worse."""
    early_pass: bool = False
    """End a bake as soon as every comparison is proven to keep its bounds, with the same error probability."""
    weak_gate: Literal["refuse", "warn"] = "refuse"
    """What happens to a release with a step that cannot see what ``detect`` asks for."""
    canary: CanaryJudge | None = None
    interval: PositiveDuration = timedelta(seconds=1)
    """How often the guard checks."""
    window: PositiveDuration = timedelta(seconds=30)
    """How far back a check looks; never before the step began."""
    split_tolerance: Share = 500
    """How far the counted share may lie from the one asked for, beyond what chance explains."""
    verdict_ttl: PositiveDuration = timedelta(minutes=10)
    """A verdict that is older when a release goes on is judged again."""

    @model_validator(mode="after")
    def _answerable(self) -> Analysis:
        if self.canary and not self.canary_url:
            msg = "canary.url: found nothing, nor metrics.url, expected the Prometheus that answers the config's queries"
            raise ValueError(msg)
        return self

    @property
    def canary_url(self) -> str | None:
        """The Prometheus that answers the canary config's queries."""
        return (self.canary.url if self.canary else None) or self.metrics.url
