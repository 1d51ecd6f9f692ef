"""Service files: what one may write, what it means, and every default, in one place.

A service file is YAML; its ``strategy`` says which of the four models reads it. All models
are frozen and refuse unknown keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from math import ceil, floor
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

from tasks.domain.model import Match
from tasks.domain.units import WHOLE, Duration, Share, format_share


class Part(BaseModel):
    """Base of every part of a service file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        msg = "found 0s, expected a duration longer than 0s"
        raise ValueError(msg)
    return value


PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


class HealthCheck(Part):
    """How a replica shows that it can serve."""

    path: str = Field("/", pattern=r"^/")
    """Answers 200 to 399 when the replica can take requests."""
    interval: PositiveDuration = timedelta(seconds=1)
    """How often the proxy asks."""
    timeout: PositiveDuration = timedelta(seconds=1)
    """How long one answer may take."""
    ready_within: PositiveDuration = timedelta(minutes=2)
    """How long a new replica may take to answer for the first time."""


class LocalFleet(Part):
    """Replicas as processes on this machine."""

    kind: Literal["local"] = "local"
    command: str = Field(min_length=1)
    """What runs one replica. ``{port}``, ``{version}``, ``{service}`` and ``{replica}`` are filled in;
    other braces are doubled."""
    directory: str = "."
    """Working directory; relative ones count from the service file's folder."""
    environment: dict[str, str] = {}
    """Added to the environment of every replica; the same fields are filled in."""
    health: HealthCheck = HealthCheck()
    drain: Duration = timedelta(seconds=5)
    """How long requests in flight may take to end before a replica is told to stop."""
    stop_within: PositiveDuration = timedelta(seconds=10)
    """How long a replica has between SIGTERM and SIGKILL."""


class EnvoyRouter(Part):
    """The embedded proxy in front of the service."""

    kind: Literal["envoy"] = "envoy"
    port: int = Field(ge=1024, le=65535)
    """Where users reach the service, on 127.0.0.1."""
    preview_port: int | None = Field(None, ge=1024, le=65535)
    """Where the candidate can be looked at before users reach it."""
    timeout: PositiveDuration = timedelta(seconds=15)
    """How long one request may take."""
    access_log: bool = False
    """Write one JSON line per request, with the slot that answered it."""


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


class Metrics(Part):
    """Where series come from."""

    source: Literal["envoy", "prometheus"] = "envoy"
    url: str | None = Field(None, pattern=r"^https?://")
    """Address of the Prometheus server; only for that source."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """How long one query may take."""

    @model_validator(mode="after")
    def _complete(self) -> Metrics:
        if (self.source == "prometheus") != (self.url is not None):
            msg = f"found url {self.url!r} with source {self.source!r}, expected url with prometheus only"
            raise ValueError(msg)
        return self


class Analysis(Part):
    """What judges the candidate: in every check of the guard and at the end of each step."""

    metrics: Metrics = Metrics()
    limits: Mapping[MetricName, Limit] = {"error_rate": Limit(max=1.0), "restarts": Limit(max=0)}
    """By metric, what the candidate must keep to."""
    interval: PositiveDuration = timedelta(seconds=1)
    """How often the guard checks."""
    window: PositiveDuration = timedelta(seconds=30)
    """How far back a check looks; never before the step began."""
    split_tolerance: Share = 500
    """How far the counted share may lie from the one asked for, beyond what chance explains."""
    verdict_ttl: PositiveDuration = timedelta(minutes=10)
    """A verdict that is older when a release goes on is judged again."""


class Hooks(Part):
    """Commands run on Davy's machine; a failing ``before`` takes the release back."""

    before: tuple[str, ...] = ()
    """Run once the candidate is healthy, before it gets any traffic."""
    after: tuple[str, ...] = ()
    """Run once all traffic is on the new version."""
    timeout: PositiveDuration = timedelta(minutes=5)
    """How long each may take."""


class MatchRule(Part):
    """Requests with this header or cookie go to the candidate first."""

    header: str | None = None
    """Name of the header."""
    cookie: str | None = None
    """Name of the cookie."""
    value: str = Field(min_length=1)
    """The exact value that matches."""

    @model_validator(mode="after")
    def _one(self) -> MatchRule:
        if (self.header is None) == (self.cookie is None):
            msg = f"found header {self.header!r} and cookie {self.cookie!r}, expected one of them"
            raise ValueError(msg)
        return self

    def to_match(self) -> Match:
        """The rule as routers read it."""
        return Match("header" if self.header else "cookie", self.header or self.cookie or "", self.value)


class Mirror(Part):
    """Copy users' requests to the candidate before it answers any of them."""

    share: Share = 10_000
    """How many of the requests are copied."""
    bake: PositiveDuration = timedelta(minutes=1)
    """How long, before the first step."""


class Affinity(Part):
    """Keep a user on the version that first answered them."""

    cookie: str = Field("davy", pattern=r"^[A-Za-z0-9_-]+$")
    ttl: PositiveDuration = timedelta(hours=1)


class Step(Part):
    """One share to hold, and for how long."""

    share: Share
    bake: PositiveDuration = timedelta(minutes=5)
    """How long it is held, guarded all the time, before it is judged."""

    def __str__(self) -> str:
        return format_share(self.share)


class Preview(Part):
    """A check of the new colour before users reach it."""

    path: str = Field("/", pattern=r"^/")
    status: int = Field(200, ge=100, le=599)
    """What each replica must answer."""
    requests: int = Field(5, ge=1)
    """How often each replica is asked."""


class ServiceFile(Part):
    """What every strategy's service file has."""

    service: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
    """Name: lower-case letters, digits and dashes."""
    replicas: int = Field(2, ge=1)
    """How many copies of the stable version run."""
    fleet: LocalFleet
    router: EnvoyRouter
    analysis: Analysis = Analysis()
    hooks: Hooks = Hooks()
    matches: tuple[MatchRule, ...] = ()
    """Testers before users: these requests reach the candidate first."""
    mirror: Mirror | None = None
    affinity: Affinity | None = None
    on_failure: Literal["revert", "freeze"] = "revert"
    """``freeze`` stops where it is and calls for a person."""
    on_crash: Literal["revert", "resume"] = "revert"
    """What happens when nobody carries the release on: go back at once, or wait to be resumed."""
    resume_within: PositiveDuration = timedelta(minutes=5)
    """With ``on_crash: resume``, how long to wait before going back all the same."""
    abort_scale_down_delay: Duration = timedelta(seconds=30)
    """How long a candidate that was taken back is kept running, for a look."""


def _replicas(value: object) -> object:
    """Accept ``25%`` or a whole number of replicas.

    Raises:
        ValueError: Neither; not retried.
    """
    text = str(value).strip()
    number = text.removesuffix("%")
    whole = number.isdigit() and not isinstance(value, bool)
    if not whole or (text.endswith("%") and int(number) > 100):  # noqa: PLR2004 - percent
        msg = f"found {value!r}, expected a number of replicas or a percentage such as '25%'"
        raise ValueError(msg)
    return text


Replicas = Annotated[str, BeforeValidator(_replicas), Field(examples=["25%", "1"])]
"""Replicas, as a number or as a percentage of all."""


def _of(batch: str, replicas: int, rounding: Callable[[float], int]) -> int:
    if batch.endswith("%"):
        return int(rounding(int(batch.removesuffix("%")) * replicas / 100))
    return int(batch)


@dataclass(frozen=True)
class Batch:
    """One move of a rolling release, in replicas.

    Attributes:
        room: How many of the old version stay while the new ones start.
        new: How many of the new version run then.
        old: How many of the old version stay at the end.
        share: The new version's share, in basis points.
    """

    room: int
    new: int
    old: int
    share: int


class Rolling(ServiceFile):
    """Replace stable's replicas batch by batch."""

    strategy: Literal["rolling"] = "rolling"
    max_surge: Replicas = "25%"
    """How many replicas more than `replicas` may run; percentages round up."""
    max_unavailable: Replicas = "25%"
    """How many replicas fewer may be healthy; percentages round down."""
    bake: PositiveDuration = timedelta(minutes=1)
    """How long each batch is watched before it is judged."""

    def batches(self, replicas: int) -> list[Batch]:
        """How *replicas* copies are replaced within the bounds."""
        batches: list[Batch] = []
        new = 0
        while new < replicas:
            room = max(0, replicas - new - self.unavailable)
            new = min(replicas, replicas + self.surge - room)
            batches.append(Batch(room=room, new=new, old=replicas - new, share=WHOLE * new // replicas))
        return batches

    @property
    def surge(self) -> int:
        """`max_surge` in replicas."""
        return _of(self.max_surge, self.replicas, ceil)

    @property
    def unavailable(self) -> int:
        """`max_unavailable` in replicas."""
        return _of(self.max_unavailable, self.replicas, floor)

    @model_validator(mode="after")
    def _moves(self) -> Rolling:
        if self.surge + self.unavailable == 0:
            msg = "found max_surge 0 and max_unavailable 0 replicas, expected room for one replica to change"
            raise ValueError(msg)
        if self.unavailable >= self.replicas and self.surge == 0:
            msg = f"found max_unavailable {self.unavailable} of {self.replicas} replicas, expected at least one to stay"
            raise ValueError(msg)
        return self


class _Switching(ServiceFile):
    """What strategies have that end with all traffic moved at once to a second set of replicas."""

    watch: PositiveDuration = timedelta(minutes=1)
    """How long the new version is watched after the switch."""
    scale_down_delay: Duration = timedelta(seconds=30)
    """How long the old version is kept running, so that going back is one switch."""


class BlueGreen(_Switching):
    """Run the new colour at full size beside the old one, switch all traffic at once."""

    preview: Preview = Preview()
    strategy: Literal["blue-green"] = "blue-green"


class BlueGreenCanary(_Switching):
    """Green at blue's full size, a trickle judged, then all traffic at once."""

    strategy: Literal["blue-green-canary"] = "blue-green-canary"
    preview: Preview = Preview()
    trickle: Step = Step(share=5)
    """The share that is judged before all traffic moves."""


class Canary(_Switching):
    """Widen a small candidate's share step by step, beside a baseline of the old version."""

    strategy: Literal["canary"] = "canary"
    steps: tuple[Step, ...] = Field((Step(share=5), Step(share=25), Step(share=50)), min_length=1)
    """Shares to hold, growing."""
    baseline: bool = True
    """Run the old version beside the candidate, same size and age; else compare with stable."""
    baseline_until: Share = 2500
    """The largest share up to which the baseline is kept."""
    promote: bool = True
    """``false`` only tries the version and removes it."""

    @model_validator(mode="after")
    def _grow(self) -> Canary:
        shares = [step.share for step in self.steps]
        for number, (before, after) in enumerate(pairwise(shares), start=1):
            if after <= before:
                msg = (
                    f"steps.{number}.share: found {format_share(after)} after {format_share(before)}, "
                    "expected shares that grow"
                )
                raise ValueError(msg)
        if shares[0] == 0:
            msg = "steps.0.share: found 0%, expected more than 0%"
            raise ValueError(msg)
        return self

    def has_baseline(self, share: int) -> bool:
        """Whether the baseline runs at this share of the candidate (basis points), with the same one."""
        return self.baseline and share <= min(self.baseline_until, WHOLE // 2)


Strategy = Annotated[Rolling | BlueGreen | Canary | BlueGreenCanary, Field(discriminator="strategy")]
service_adapter: TypeAdapter[Rolling | BlueGreen | Canary | BlueGreenCanary] = TypeAdapter(Strategy)
"""Reads a service file's content, and gives its JSON Schema."""
