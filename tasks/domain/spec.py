"""Service files: what one may write, what it means, and every default.

A service file is YAML; its ``strategy`` says which of the four models reads it. All models
are frozen and refuse unknown keys.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from math import ceil, floor
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    Field,
    TypeAdapter,
    model_validator,
)

from tasks.domain.analysis import Analysis
from tasks.domain.choices import Fleet, Router
from tasks.domain.errors import PermanentError
from tasks.domain.gates import Gates
from tasks.domain.kubernetes import KubernetesFleet
from tasks.domain.merges import OnMerges
from tasks.domain.notices import Notices
from tasks.domain.parts import (
    Affinity,
    EnvoyRouter,
    Hooks,
    LocalFleet,
    MatchRule,
    Mirror,
    Part,
    PositiveDuration,
    Preview,
    Step,
)
from tasks.domain.replicas import Batch, Replicas, count_of
from tasks.domain.schedule import Schedule
from tasks.domain.units import WHOLE, Duration, Share, format_share
from tasks.domain.versions import Versions


class ServiceFile(Part):
    """What every strategy's service file has."""

    service: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
    """Name: lower-case letters, digits and dashes."""
    replicas: int = Field(2, ge=1)
    """How many copies of the stable version run."""
    fleet: Fleet
    router: Router
    analysis: Analysis = Analysis()
    hooks: Hooks = Hooks()
    matches: tuple[MatchRule, ...] = ()
    """Testers before users: these requests reach the candidate first."""
    mirror: Mirror | None = None
    affinity: Affinity | None = None
    on_conflict: Literal["reject", "queue", "supersede"] = "reject"
    """What a second release does while one is under way: it is refused, waits, or has that one taken back first.
    Of those that wait the newest goes on, the others end as Superseded."""
    gates: Gates | None = None
    """Where a person has to approve before it goes on."""
    on_failure: Literal["revert", "freeze"] = "revert"
    """``freeze`` stops where it is and calls for a person."""
    on_crash: Literal["revert", "resume"] = "revert"
    """What happens when nobody carries the release on: go back at once, or wait to be resumed."""
    resume_within: PositiveDuration = timedelta(minutes=5)
    """With ``on_crash: resume``, how long to wait before going back all the same."""
    on_drift: Literal["abort", "reassert"] = "abort"
    """What happens when somebody else changes the release's split: go back, or write it once more."""
    abort_scale_down_delay: Duration = timedelta(seconds=30)
    """How long a candidate that was taken back is kept running, for a look."""

    on_merge: OnMerges = ()
    """Merges that release the service, received by ``davy webhooks``: one, or a list."""
    versions: Versions | None = None
    """Where `davy nightly` finds the newest version."""
    schedule: Schedule | None = None
    """When a newer version is looked for and released; needs `versions`."""
    notify: Notices = ()
    """Who is told of a release, and by what."""

    @property
    def local(self) -> LocalFleet:
        """The fleet, of a service that runs as local processes."""
        return _of_kind(self.fleet, LocalFleet)

    @property
    def kubernetes(self) -> KubernetesFleet:
        """The fleet, of a service that runs on Kubernetes."""
        return _of_kind(self.fleet, KubernetesFleet)

    @property
    def envoy(self) -> EnvoyRouter:
        """The router, of a service behind the embedded proxy."""
        return _of_kind(self.router, EnvoyRouter)

    @model_validator(mode="after")
    def _fits_together(self) -> ServiceFile:
        """Fleet, router and metrics are of one world."""
        local = isinstance(self.fleet, LocalFleet)
        if local != isinstance(self.router, EnvoyRouter):
            expected = "envoy" if local else "istio, gateway_api, nginx or replicas"
            msg = (
                f"router.kind: found {self.router.kind!r} with fleet {self.fleet.kind!r}, expected {expected}"
            )
            raise ValueError(msg)
        if not local and self.analysis.metrics.source == "envoy":
            msg = "analysis.metrics.source: found 'envoy' with fleet 'kubernetes', expected prometheus"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _finds_versions(self) -> ServiceFile:
        if self.schedule and self.versions is None:
            msg = f"schedule: found '{self.schedule}' without versions, expected versions beside it"
            raise ValueError(msg)
        return self

    def spare(self, replicas: int) -> int:
        """How many of *replicas* stable copies may be missing when all traffic comes back to them."""
        return min(1, replicas - 1)


P = TypeVar("P", bound=Part)


def _of_kind(part: Part, kind: type[P]) -> P:
    if not isinstance(part, kind):
        msg = f"{type(part).__name__}: found where {kind.__name__} was expected"
        raise PermanentError(msg)
    return part


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
        """How *replicas* copies are replaced within the bounds, which count from what really runs."""
        surge, unavailable = self.bounds(replicas)
        batches: list[Batch] = []
        new = 0
        while new < replicas:
            before, room = new, max(0, replicas - new - unavailable)
            new = min(replicas, replicas + surge - room)
            moved = WHOLE * before // (before + room)
            batches.append(Batch(moved, room, new, old=replicas - new, share=WHOLE * new // replicas))
        return batches

    def bounds(self, replicas: int) -> tuple[int, int]:
        """`max_surge` and `max_unavailable` of *replicas*: one copy always stays, one always moves."""
        unavailable = min(count_of(self.max_unavailable, replicas, floor), replicas - 1)
        surge = count_of(self.max_surge, replicas, ceil)
        return surge if surge + unavailable else 1, unavailable

    def spare(self, replicas: int) -> int:
        """As many as the service file lets be unavailable."""
        return max(super().spare(replicas), self.bounds(replicas)[1])

    @model_validator(mode="after")
    def _moves(self) -> Rolling:
        surge = count_of(self.max_surge, self.replicas, ceil)
        unavailable = count_of(self.max_unavailable, self.replicas, floor)
        if surge + unavailable == 0:
            msg = "found max_surge 0 and max_unavailable 0 replicas, expected room for one replica to change"
            raise ValueError(msg)
        if unavailable >= self.replicas:
            msg = f"found max_unavailable {unavailable} of {self.replicas} replicas, expected one to stay"
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

    @model_validator(mode="after")
    def _trickles(self) -> BlueGreenCanary:
        if self.trickle.share == WHOLE:
            msg = "trickle.share: found 100%, expected less than 100%"
            raise ValueError(msg)
        return self


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
        return self

    def has_baseline(self, share: int) -> bool:
        """Whether the baseline runs at this share of the candidate (basis points), with the same one."""
        return self.baseline and share <= min(self.baseline_until, WHOLE // 2)


Strategy = Annotated[Rolling | BlueGreen | Canary | BlueGreenCanary, Field(discriminator="strategy")]
service_adapter: TypeAdapter[Rolling | BlueGreen | Canary | BlueGreenCanary] = TypeAdapter(Strategy)
"""Reads a service file's content."""


def service_schema() -> dict[str, Any]:
    """The JSON Schema of service files; its defaults are written as a file has them."""
    return service_adapter.json_schema(mode="serialization")
