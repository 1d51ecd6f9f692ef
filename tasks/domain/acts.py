"""Acts: what a person can say to a release while it runs, and whose word it may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tasks.domain.gates import Choice, Decision, Gates, OpenGate


class Act(StrEnum):
    """What is said."""

    ABORT = "abort"
    """All traffic goes back to stable."""
    PROMOTE = "promote"
    """What is left of bakes and analyses is skipped; guard, health checks and gates stay."""
    HOLD = "hold"
    """The bake of now, or the gate, lasts longer."""
    SKIP = "skip"
    """The bake of now ends, and its step is not judged."""
    RETRY = "retry"
    """The bake of now begins anew, and what was measured before in its step is not judged."""


NEVER = datetime.max.replace(tzinfo=UTC)
OVERRIDES = (Act.PROMOTE, Act.SKIP)
"""Acts that let a release go on without a verdict."""


@dataclass(frozen=True)
class Said:
    """An act that somebody said.

    Attributes:
        by: The name as it was given, which is claimed: nobody has checked it.
        place: The step or the gate that the release was at; empty between two.
        held_for: With ``hold``, how much longer from then on.
    """

    at: datetime
    act: Act
    by: str
    reason: str
    place: str
    held_for: timedelta = timedelta(0)

    def __str__(self) -> str:
        return f"{self.by} (claimed)" + (f": {self.reason}" if self.reason else "")


def refusal(act: Act, by: str, gates: Gates | None, starter: str) -> str:
    """Why *by* may not say *act*, in words; empty where they may.

    Whoever reaches Davy may abort, hold and retry: none of these lets a version go on unjudged.
    ``promote`` and ``skip`` do, and they take from the gates behind them the verdicts that an approver
    would look at. So where the service file has gates, these two need what an approval needs: one of the
    approvers, who did not start the release (unless ``own_release`` says so). Where a gate takes no typed
    name (``approval: verified``) or asks for two people (nobody is known to have started the release),
    an act, which is one typed name, is refused. No act ever is an approval: every gate still asks.
    """
    if gates is None or act not in OVERRIDES:
        return ""
    asked = OpenGate("", "", NEVER, starter, gates)
    if why := asked.refusal(Decision(NEVER, Choice.APPROVE, by, "", verified=False, plan="")):
        return why
    if asked.needed > 1:
        return "nobody is known to have started this release, so its gates need two people, and an act is one's word"
    return ""
