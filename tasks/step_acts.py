"""What people have said in a step of a release, and what that makes of it; read from the journal, never kept beside it.

Each act belongs to the step that baked or was judged when it was written, and only ``promote`` to all after it,
so whoever carries the release obeys the same acts, once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from tasks.domain.acts import Act, Said
from tasks.domain.model import Result, Slot
from tasks.domain.units import format_share, parse_duration
from tasks.journal import Line
from tasks.record import Record

_STEP = re.compile(r"(?:bake|judge|analyse)-([a-z]+-[\d.]+%)-")
"""The keys of what a step consists of while its share is held."""


def step_name(slot: Slot, share: int) -> str:
    """How the step that gives *slot* its *share* (basis points) is called in keys: ``candidate-5%``."""
    return f"{slot}-{format_share(share)}"


def step_of(key: str) -> str:
    """The step that the key of a bake or an analysis belongs to; empty for any other key."""
    found = _STEP.match(key)
    return found[1] if found else ""


def step_now(lines: Sequence[Line]) -> str:
    """The step that bakes or is judged after *lines*; empty between steps, at a gate, and on the way back."""
    for line in reversed(lines):
        if line.kind == "intent":
            return step_of(line.key)
        if line.kind in ("abort", "reverting", "ended", "gate") or decides(line):
            return ""
    return ""


def is_judged(lines: Sequence[Line]) -> bool:
    """Whether the step of now has had its whole bake, and is judged at its end."""
    intents = [line for line in lines if line.kind == "intent"]
    return bool(intents) and intents[-1].key.startswith("analyse-")


def decides(line: Line) -> bool:
    """Whether *line* is a verdict after which its step neither bakes nor is judged again."""
    if line.kind != "outcome" or not line.key.startswith(("analyse-", "judge-")):
        return False
    result = line.data["result"]["result"]
    if line.key.startswith("judge-"):
        return bool(result == Result.FAIL)
    return result in (Result.PASS, Result.FAIL) or not line.key.endswith("-1")


@dataclass(frozen=True)
class StepActs:
    """What was said in one step."""

    record: Record
    step: str

    @cached_property
    def said(self) -> tuple[tuple[int, Said], ...]:
        """Every act of this step, with the number of its line."""
        lines = self.record.lines
        acts = ((number, line) for number, line in enumerate(lines) if line.kind == "act")
        return tuple((at, said_in(line)) for at, line in acts if step_now(lines[:at]) == self.step)

    @property
    def override(self) -> Said | None:
        """Who lets the release go on without this step's verdict; None where it is to be judged."""
        skips = [said for _, said in self.said if said.act is Act.SKIP]
        return skips[0] if skips else self._promoted

    @property
    def retries(self) -> int:
        """How often the step was begun anew."""
        return sum(said.act is Act.RETRY for _, said in self.said)

    @property
    def since(self) -> datetime | None:
        """From when on it is held and judged: since its share is live, or since it was begun anew."""
        live = self.record.live_since
        retries = [said.at for _, said in self.said if said.act is Act.RETRY]
        return max([live, *retries]) if live else None

    @property
    def held_until(self) -> datetime | None:
        """Until when somebody holds the bake; None where nobody does."""
        ends = [said.at + said.held_for for _, said in self.said if said.act is Act.HOLD]
        return max(ends, default=None)

    @property
    def is_held(self) -> bool:
        """Whether somebody holds the bake now."""
        return self.held_until is not None and datetime.now(UTC) < self.held_until

    def counts(self, done: Line) -> bool:
        """Whether the outcome *done* was begun after the step's bake was begun anew the last time."""
        retries = [number for number, said in self.said if said.act is Act.RETRY]
        if not retries:
            return True
        intents = [
            (number, line.key) for number, line in enumerate(self.record.lines) if line.kind == "intent"
        ]
        bakes = (number for number, key in intents if key.startswith("bake-") and step_of(key) == self.step)
        anew = next((number for number in bakes if number > retries[-1]), len(self.record.lines))
        end = self.record.lines.index(done)
        return any(key == done.key and anew <= number < end for number, key in intents)

    @property
    def _promoted(self) -> Said | None:
        """Who said ``promote`` before this step had its verdict."""
        for line in self.record.lines:
            if line.kind == "act" and line.key == Act.PROMOTE:
                return said_in(line)
            if decides(line) and step_of(line.key) == self.step:
                return None
        return None


def said_in(line: Line) -> Said:
    """An ``act`` line."""
    data = line.data
    return Said(
        line.at, Act(line.key), data["by"], data["reason"], data["place"], parse_duration(data["held_for"])
    )


def promoted_by(record: Record) -> Said | None:
    """Who had the rest skipped; None where nobody has."""
    line = record.first("act", Act.PROMOTE)
    return said_in(line) if line else None
