"""The values that pass between Davy's parts: frozen, comparable, free of I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

from tasks.domain.units import WHOLE, format_share


class Slot(StrEnum):
    """A place for one revision of a service in its fleet and in its routes.

    Stable lives in one of the two colours. Strategies in which old and new take turns use
    the other colour for the candidate; a canary runs its small candidate and baseline in
    slots of their own and then brings stable's colour to the new version.
    """

    BLUE = "blue"
    GREEN = "green"
    CANDIDATE = "candidate"
    BASELINE = "baseline"

    @property
    def other_colour(self) -> Slot:
        """The colour that takes turns with this one."""
        return Slot.GREEN if self is Slot.BLUE else Slot.BLUE


@dataclass(frozen=True, order=True)
class Revision:
    """One version of a service in one slot."""

    service: str
    slot: Slot
    version: str

    def __str__(self) -> str:
        return f"{self.service}/{self.slot}@{self.version}"


class Health(StrEnum):
    """What is known of a replica."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DOWN = "down"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Replica:
    """One running copy of a revision.

    Attributes:
        port: Where it answers, on 127.0.0.1.
        health: Its own health check's answer, asked now.
        restarts: How often it died and came back since it was deployed.
        detail: Why it is not healthy, in words.
        image: The image that it runs, by digest; empty where it runs none, or that is not known.
    """

    revision: Revision
    number: int
    host: str
    port: int
    health: Health
    restarts: int = 0
    detail: str = ""
    image: str = ""

    @property
    def address(self) -> Address:
        """Where requests for it go."""
        return Address(self.host, self.port)


@dataclass(frozen=True, order=True)
class Address:
    """Host and port of one replica."""

    host: str
    port: int


@dataclass(frozen=True)
class Split:
    """The shares of a service's revisions: basis points by slot, together 10,000.

    Slots without a share are left out, so equal splits compare equal.

    Raises:
        ValueError: A share is negative, or they do not add up to 10,000.
    """

    shares: Mapping[Slot, int]

    def __post_init__(self) -> None:
        kept = {Slot(slot): int(share) for slot, share in self.shares.items() if share}
        if any(share < 0 for share in kept.values()) or sum(kept.values()) != WHOLE:
            msg = f"split: found {dict(self.shares)}, expected shares that add up to {WHOLE}"
            raise ValueError(msg)
        object.__setattr__(self, "shares", MappingProxyType(dict(sorted(kept.items()))))

    def __getitem__(self, slot: Slot) -> int:
        return self.shares.get(slot, 0)

    def __hash__(self) -> int:
        return hash(tuple(self.shares.items()))

    def __reduce__(self) -> tuple[type[Split], tuple[dict[Slot, int]]]:
        return Split, (dict(self.shares),)

    def __str__(self) -> str:
        return ", ".join(f"{slot} {format_share(share)}" for slot, share in self.shares.items())

    def to_json(self) -> dict[str, int]:
        """Basis points by slot, as a journal line holds them."""
        return {str(slot): share for slot, share in self.shares.items()}

    @classmethod
    def all_to(cls, slot: Slot) -> Split:
        """Every live request to one slot."""
        return cls({slot: WHOLE})

    @classmethod
    def by_count(cls, counts: Mapping[Slot, int]) -> Split:
        """The shares of so many replicas that all get as many requests; the largest takes what rounding leaves.

        Raises:
            ValueError: There is no replica.
        """
        total = sum(counts.values())
        shares = {slot: WHOLE * count // max(total, 1) for slot, count in counts.items()}
        most = max(counts, key=lambda slot: counts[slot], default=Slot.BLUE)
        rest = WHOLE - sum(shares.values()) if total else 0
        return cls(shares | {most: shares.get(most, 0) + rest})


@dataclass(frozen=True)
class Match:
    """A header or cookie with this exact value goes to the candidate before any draw."""

    kind: str  # "header" or "cookie"
    name: str
    value: str


@dataclass(frozen=True)
class Traffic:
    """Everything a router is asked to do with a service's requests: absolute, never a change.

    Attributes:
        split: The shares that a draw by weight gives.
        matched: The slot that `matches` go to, before any draw.
        matches: Any of these is enough.
        mirror: The slot that gets a copy of drawn requests, whose answers nobody sees.
        mirror_share: Basis points of requests that are copied.
        affinity: Name of the cookie that keeps a user where the first draw put them; the
            cookie counts only within one release (`affinity_key`), so a way back moves everyone.
        preview: The slot behind the preview port, which users do not reach.
    """

    split: Split
    matched: Slot | None = None
    matches: tuple[Match, ...] = ()
    mirror: Slot | None = None
    mirror_share: int = 0
    affinity: str | None = None
    affinity_key: str = ""
    affinity_ttl: timedelta = timedelta(hours=1)
    preview: Slot | None = None

    def reaches(self, slot: Slot) -> bool:
        """Whether users' requests (drawn, matched or mirrored) can get to *slot*."""
        return bool(self.split[slot]) or slot in (self.matched, self.mirror)


@dataclass(frozen=True)
class Change:
    """One object that a release will make or change, as far as it can be known before.

    Attributes:
        subject: ``Kind/namespace/name``.
        action: ``create`` or ``change``.
        diff: What changes, as lines of a unified diff of YAML.
        like: The subject that a created one is compared with; empty for none.
    """

    subject: str
    action: str
    diff: str = ""
    like: str = ""


class Lease(Protocol):
    """The right to change one service's fleet and traffic. Its epoch only grows."""

    @property
    def epoch(self) -> int:
        """Position among all leases ever taken of the service, from 1."""
        ...

    @property
    def release(self) -> str:
        """The release that it was taken for."""
        ...

    def check(self) -> None:
        """Make sure that this carrier still holds the lease.

        Raises:
            LeaseLostError: A newer epoch exists, it has expired, or this is a child process.
        """
        ...


@dataclass(frozen=True)
class Window:
    """A stretch of time, aware UTC, start exclusive and end inclusive."""

    start: datetime
    end: datetime


class Result(StrEnum):
    """What a judge says."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    MARGINAL = "marginal"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @classmethod
    def worst(cls, results: Iterable[Result]) -> Result:
        """The result that decides; with none at all, inconclusive: no data is never a pass."""
        found = set(results)
        order = (cls.FAIL, cls.INCONCLUSIVE, cls.MARGINAL, cls.PASS)
        return next((result for result in order if result in found), cls.INCONCLUSIVE)


@dataclass(frozen=True)
class Finding:
    """What one metric of one slot showed against its limit."""

    metric: str
    slot: str
    result: Result
    value: float | None
    reason: str


@dataclass(frozen=True)
class Verdict:
    """A judge's answer, with the reasons in words and the evidence it was given."""

    result: Result
    findings: tuple[Finding, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The findings that decided, in one sentence."""
        deciding = [f.reason for f in self.findings if f.result is self.result]
        return "; ".join(deciding) or f"nothing measured, so {self.result}"


class Outcome(StrEnum):
    """How a release ended."""

    PROMOTED = "Promoted"
    TRIED = "Tried"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"
    FROZEN = "Frozen"
    REJECTED = "Rejected"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
