"""Gates: where a release waits for people's approval, whose it may be, and what their decisions come to. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from tasks.domain.parts import Part, PositiveDuration
from tasks.domain.units import WHOLE, format_share, parse_share

TRAFFIC, PROMOTION = "traffic", "promotion"
"""Before the first request gets to the new version, and before it gets all of them."""


def _point(value: object) -> str:
    """Read where a gate stands.

    Raises:
        ValueError: Neither a word nor a share between 0 and 100 percent; not retried.
    """
    if value in (TRAFFIC, PROMOTION):
        return str(value)
    try:
        share = parse_share(value)
    except ValueError as error:
        msg = f"found {value!r}, expected traffic, promotion, or a share such as 25%"
        raise ValueError(msg) from error
    if not 0 < share < WHOLE:
        msg = f"found {value!r}, expected a share above 0% and below 100%, or traffic, or promotion"
        raise ValueError(msg)
    return format_share(share)


GatePoint = Annotated[
    str,
    BeforeValidator(_point),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [TRAFFIC, PROMOTION]},
                {"type": "string", "pattern": r"^\d+(\.\d{1,2})?%$"},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100},
            ],
            "examples": [TRAFFIC, "25%", PROMOTION],
        }
    ),
]
"""Where a gate stands: ``traffic``, ``promotion``, or the share that needs an approval to be passed."""


def limit_of(point: str) -> int:
    """The largest share (basis points) that the new version may have without the approval."""
    words = {TRAFFIC: 0, PROMOTION: WHOLE - 1}
    return words[point] if point in words else parse_share(point)


def place_of(point: str) -> str:
    """Where a gate stands, in words."""
    words = {TRAFFIC: "before the first request", PROMOTION: "before all traffic"}
    return words.get(point, f"before more than {point} of the traffic")


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    known = [same_name(name) for name in names]
    if "" in known or len(set(known)) != len(known):
        msg = f"found {', '.join(map(repr, names))}, expected names that are not empty and differ"
        raise ValueError(msg)
    return names


class Gates(Part):
    """Where the release waits for a person, who that may be, and for how long."""

    at: tuple[GatePoint, ...] = Field((PROMOTION,), min_length=1)
    """``traffic`` (before the first request), a share (before any larger one), ``promotion`` (before all traffic)."""
    approvers: Annotated[tuple[str, ...], AfterValidator(_distinct)] = Field(min_length=1)
    """Who may approve: names, or mail addresses."""
    approval: Literal["claimed", "verified"] = "claimed"
    """``verified`` counts only decisions made by an approver's own link; a name that is typed is claimed."""
    own_release: bool = False
    """Whether an approver may approve a release that they started."""
    within: PositiveDuration = timedelta(hours=24)
    """How long the release waits."""
    on_timeout: Literal["reject", "approve"] = "reject"
    """What happens when nobody has decided by then."""

    @model_validator(mode="after")
    def _can_be_passed(self) -> Gates:
        if len(self.approvers) == 1 and not self.own_release:
            msg = (
                f"approvers: found {self.approvers[0]!r} alone, expected two or own_release: true, "
                "since nobody approves their own release, and one that nobody is known to have started needs two"
            )
            raise ValueError(msg)
        return self

    def before(self, share: int) -> tuple[str, ...]:
        """The gates that stand before *share* (basis points), the first to be reached first."""
        points = {limit_of(point): point for point in self.at}
        return tuple(points[limit] for limit in sorted(points) if limit < share)


class Choice(StrEnum):
    """What a person says at a gate."""

    APPROVE = "approve"
    REJECT = "reject"
    HOLD = "hold"


@dataclass(frozen=True)
class Decision:
    """What somebody said at a gate.

    Attributes:
        by: The name, as it was typed or as it stands in the link.
        verified: It was made by the approver's own link.
        plan: The hash of the plan that was shown.
        held_for: With ``hold``, by how much the deadline moves.
    """

    at: datetime
    choice: Choice
    by: str
    reason: str
    verified: bool
    plan: str
    held_for: timedelta = timedelta(0)

    def __str__(self) -> str:
        how = "verified" if self.verified else "claimed"
        return f"{self.by.strip()} ({how})" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Ruling:
    """What a gate has come to.

    Attributes:
        approved: Whether the release goes on; else it goes back.
        reason: In words, with names.
    """

    approved: bool
    reason: str


@dataclass(frozen=True)
class OpenGate:
    """A gate that a release waits at.

    Attributes:
        point: Where it stands.
        plan: The hash of what is to be approved.
        deadline: When it decides by itself, before any hold.
        starter: Who started the release; empty where that is not known.
    """

    point: str
    plan: str
    deadline: datetime
    starter: str
    terms: Gates

    @property
    def needed(self) -> int:
        """How many approvals: two where nobody knows whose release it is, and it may be nobody's own."""
        return 1 if self.starter or self.terms.own_release else 2

    def refusal(self, decision: Decision) -> str:
        """Why *decision* does not count, in words; empty where it does."""
        known = {same_name(name) for name in self.terms.approvers}
        if same_name(decision.by) not in known:
            return f"{decision.by!r} is not among the approvers ({', '.join(self.terms.approvers)})"
        if self.terms.approval == "verified" and not decision.verified:
            return "only a decision by an approver's own link counts here (approval: verified)"
        own = same_name(decision.by) == same_name(self.starter)
        if decision.choice is Choice.APPROVE and own and not self.terms.own_release:
            return f"{decision.by} started this release, and own_release is false"
        if decision.plan != self.plan:
            return f"it is about plan {decision.plan[:12]}, which has changed since to {self.plan[:12]}"
        return ""

    def counted(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Those that count."""
        return [decision for decision in decisions if not self.refusal(decision)]

    def until(self, decisions: Sequence[Decision]) -> datetime:
        """The deadline, with every hold."""
        holds = (one for one in self.counted(decisions) if one.choice is Choice.HOLD)
        return max([self.deadline, *(hold.at + hold.held_for for hold in holds)])

    def ruling(self, decisions: Sequence[Decision], now: datetime) -> Ruling | None:
        """What they come to; None while the gate waits. One rejection is enough."""
        counted = self.counted(decisions)
        approvals = {same_name(one.by): one for one in counted if one.choice is Choice.APPROVE}
        for one in counted:
            if one.choice is Choice.REJECT:
                return Ruling(approved=False, reason=f"rejected by {one}")
        if len(approvals) >= self.needed:
            return Ruling(approved=True, reason=f"approved by {' and '.join(map(str, approvals.values()))}")
        if now < (until := self.until(decisions)):
            return None
        word = {"approve": "approved", "reject": "rejected"}[self.terms.on_timeout]
        reason = f"{word} by on_timeout: {len(approvals)} of {self.needed} approvals by {until:%H:%M:%S} UTC"
        return Ruling(self.terms.on_timeout == "approve", reason)


def same_name(name: str) -> str:
    """A name as it is compared: case and outer spaces don't tell people apart."""
    return name.strip().casefold()


def digest_of(plan: dict[str, Any]) -> str:
    """The hash of a plan: the same for the same content, whatever its order."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
