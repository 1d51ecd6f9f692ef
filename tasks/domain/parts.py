"""The parts of a service file: fleet, router, metrics, steps. Defaults stand here, in `analysis` and in `spec` only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.domain.addresses import PlainUrl
from tasks.domain.model import Match, Slot
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


def _some(value: int) -> int:
    if not value:
        msg = "found 0%, expected more than 0%"
        raise ValueError(msg)
    return value


PositiveShare = Annotated[Share, AfterValidator(_some)]


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

    @property
    def ready_within(self) -> timedelta:
        """How long a new replica may take to be healthy."""
        return self.health.ready_within


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

    @model_validator(mode="after")
    def _two_ports(self) -> EnvoyRouter:
        if self.port == self.preview_port:
            msg = f"preview_port: found {self.preview_port}, expected another port than port"
            raise ValueError(msg)
        return self


_MATCHER = r"""\s*[a-zA-Z_]\w*\s*(=~|!~|!=|=)\s*("(\\.|[^"\\])*"|'(\\.|[^'\\])*')\s*"""
_MATCHERS = re.compile(rf"{_MATCHER}(,{_MATCHER})*,?\s*")


class Metrics(Part):
    """Where series come from."""

    source: Literal["envoy", "prometheus"] = "envoy"
    url: PlainUrl | None = None
    """Address of the Prometheus server; only for that source."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """How long one query may take."""
    preset: Literal["envoy", "istio", "nginx", "http"] = "envoy"
    """Whose series the Prometheus server has: those of Davy's own Envoy, of Istio, of the NGINX
    ingress controller, or of servers that count their own requests (``http_requests_total``)."""
    match: str | Mapping[Slot, str] | None = None
    """PromQL label matchers that tell a slot's series, as in ``version="{slot}"``, for all slots or by slot.
    ``{service}``, ``{slot}``, ``{workload}`` (on Kubernetes the slot's Deployment) and ``{namespace}`` are filled
    in, other braces are doubled. HTTP needs it; else, where it is left out, the slot's workload counts (NGINX:
    its Service), in its namespace."""
    code_label: str | None = Field(None, pattern=r"^[a-zA-Z_]\w*$")
    """Which label of a preset's series holds the HTTP status, where it is not the usual one."""

    @model_validator(mode="after")
    def _complete(self) -> Metrics:
        if (self.source == "prometheus") != (self.url is not None):
            msg = f"found url {self.url!r} with source {self.source!r}, expected url with prometheus only"
            raise ValueError(msg)
        if self.source != "prometheus" and self.preset != "envoy":
            msg = f"found preset {self.preset!r} with source {self.source!r}, expected source 'prometheus'"
            raise ValueError(msg)
        if self.preset == "envoy" and (self.match, self.code_label) != (None, None):
            msg = "found match or code_label with preset 'envoy', expected another preset"
            raise ValueError(msg)
        if self.preset == "http" and not self.match:
            msg = "found no match with preset 'http', expected what tells a slot's series"
            raise ValueError(msg)
        return self

    @field_validator("match")
    @classmethod
    def _readable(cls, match: str | Mapping[Slot, str] | None) -> str | Mapping[Slot, str] | None:
        if isinstance(match, str) and "{slot}" not in match and "{workload}" not in match:
            msg = f"found {match!r}, expected {{slot}} or {{workload}} in it, or matchers by slot"
            raise ValueError(msg)
        for text in [match] if isinstance(match, str) else (match or {}).values():
            try:
                fields = dict.fromkeys(("service", "slot", "workload", "namespace"), "name")
                readable = _MATCHERS.fullmatch(text.format(**fields))
            except (AttributeError, LookupError, ValueError):
                readable = None
            if not readable:
                msg = f"found {text!r}, expected PromQL label matchers such as 'version=\"{{slot}}\"'"
                raise ValueError(msg)
        return match


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

    share: PositiveShare = WHOLE
    """How many of the requests are copied."""
    bake: PositiveDuration = timedelta(minutes=1)
    """How long, before the first step."""


class Affinity(Part):
    """Keep a user on the version that first answered them."""

    cookie: str = Field("davy", pattern=r"^[A-Za-z0-9_-]+$")
    ttl: PositiveDuration = timedelta(hours=1)


class Step(Part):
    """One share to hold, and for how long."""

    share: PositiveShare
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
    timeout: PositiveDuration = timedelta(seconds=15)
    """How long each answer may take."""
