"""Acts on a release while it runs: how one is said, and what its journal makes of it. Needs no Prefect.

An act is a line of the journal like any other, so whoever carries the release obeys the same acts, once:
each belongs to the step that baked or was judged when it was written, and only ``promote`` to all after it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from tasks import approval
from tasks.domain.acts import Act, Said, refusal
from tasks.domain.errors import ConflictError, InputError, TransientError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome, Result, Slot
from tasks.domain.units import format_duration, format_share, parse_duration
from tasks.journal import Journal, Line, journal_of
from tasks.record import Record
from tasks.restore import take_back
from tasks.turns import recent

ABORT_WITHIN = timedelta(seconds=10)
"""How long the watcher has for an abort; after that whoever asked for it does it."""
END_WITHIN = timedelta(minutes=2)
"""How long a way back that is under way is waited for."""
POLL = 0.1
"""Seconds between two looks at whether a release has ended."""
LONGEST = timedelta(days=7)
"""For how long one act may hold."""
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


def say(journal: Journal, act: Act, *, by: str, reason: str = "", held_for: timedelta = timedelta(0)) -> Said:
    """Write what a person says to the release of *journal*; whoever carries it obeys.

    At a gate, ``hold`` is what it is there: a decision to wait longer.

    Args:
        by: Their name, recorded as claimed.
        held_for: With ``hold``, how much longer from now.

    Raises:
        InputError: A name or a duration is wrong, or they may not say it; nothing was written; not retried.
        ConflictError: The release is not where the act could mean anything; not retried.
        TransientError: Others kept writing to the journal; retried.
    """
    by, reason = by.strip(), reason.strip()
    if not by:
        raise InputError("by", by, "the name of who says it")
    if act is Act.HOLD and not timedelta(0) < held_for <= LONGEST:
        raise InputError("hold", format_duration(held_for), "how much longer, such as 10m, at most 7d")
    record = Record.read(journal)
    refuse_over(record)
    if act is Act.ABORT:
        return ask_for_abort(journal, by, reason)
    if why := refusal(act, by, record.service.gates, record.opening.starter):
        raise InputError("by", by, f"somebody who may {act} this release: {why}")
    if act is Act.HOLD and record.gate:
        approval.decide(journal, Choice.HOLD, by=by, reason=reason, held_for=held_for)
        return Said(datetime.now(UTC), act, by, reason, f"gate {record.gate.point}", held_for)
    place = place_for(record, act)
    held = format_duration(held_for)
    return said_in(journal.append("act", act, by=by, reason=reason, place=place, held_for=held))


def refuse_over(record: Record) -> None:
    """Make sure that the release goes on.

    Raises:
        ConflictError: It has ended, or goes back; not retried.
    """
    state = f"ended as {record.outcome}" if record.ended else "on its way back"
    if record.ended or record.reverting or record.abort_asked:
        msg = f"{record.release}: found it {state}, expected a release that goes on"
        raise ConflictError(msg)


def place_for(record: Record, act: Act) -> str:
    """The step that *act* is about; for ``promote``, where the release is now.

    Raises:
        ConflictError: It is about none, or an act before it has ended the step; not retried.
    """
    step = step_now(record.lines)
    before = promoted_by(record) or (StepActs(record, step).override if act is not Act.PROMOTE else None)
    if before:
        msg = f"{record.release}: found {before.act} already said by {before}, expected no act after it but abort"
        raise ConflictError(msg)
    if act is not Act.PROMOTE and not step:
        msg = f"{record.release}: found {whereabouts(record)}, expected a step that bakes or is judged"
        raise ConflictError(msg)
    if act is Act.PROMOTE and not any(line.key.startswith("bake-") for line in record.all("intent")):
        msg = f"{record.release}: found {whereabouts(record)}, expected its first bake to have begun: nothing was seen of it yet"
        raise ConflictError(msg)
    return step or (f"gate {record.gate.point}" if record.gate else "")


def whereabouts(record: Record) -> str:
    """Where a release is that does not bake, in words."""
    name = record.service.service
    if record.gate:
        return f"it waiting at gate {record.gate.point} (answer with 'davy approve {name}' or 'davy reject {name}')"
    intents = record.all("intent")
    return f"it at {intents[-1].key}" if intents else "it beginning"


def ask_for_abort(journal: Journal, by: str, reason: str = "") -> Said:
    """Write that *by* wants the release taken back, which the watcher does."""
    why: dict[str, Any] = {"reason": f"aborted by {by}: {reason}"} if reason else {}
    return Said(journal.append("abort", by=by, **why).at, Act.ABORT, by, reason, "")


def act_on(service: str, act: Act, *, by: str, reason: str = "", held_for: timedelta = timedelta(0)) -> str:
    """Say something to the release of *service* that is under way; an abort returns once that has ended.

    Returns:
        What it means, in words.

    Raises:
        InputError: No release is under way, or `say` refuses a value; not retried.
        ConflictError: The release is not where the act could mean anything; not retried.
        TransientError: Others kept writing to the journal, or an abort's way back is held up; retried.
    """
    record = release_of(service, or_frozen=act is Act.ABORT)
    journal = journal_of(service, record.release)
    if act is not Act.ABORT:
        return meaning(say(journal, act, by=by, reason=reason, held_for=held_for))
    abort(journal, by=by, reason=reason)
    after = Record.read(journal)
    if after.ended is None:
        msg = f"{after.release}: found it still on its way back, expected its end by now; the watcher goes on with it"
        raise TransientError(msg)
    return f"{after.release}: {after.outcome}: {after.ended.data['message']}"


def release_of(service: str, *, or_frozen: bool = False) -> Record:
    """The release of *service* that has not ended.

    Args:
        or_frozen: One that was left frozen will do.

    Raises:
        InputError: There is none; not retried.
    """
    found = next((one for one in recent(service) if one.ended is None or (or_frozen and one.frozen)), None)
    if found is None:
        frozen = ", or a frozen one" if or_frozen else ""
        raise InputError("service", service, f"a service with a release under way{frozen}")
    return found


def meaning(said: Said) -> str:
    """What an act comes to, in words."""
    at = said.place or "the release"
    means = {
        Act.ABORT: "all traffic goes back to stable",
        Act.PROMOTE: "what is left of bakes and analyses is skipped; gates still ask",
        Act.HOLD: f"{at} lasts until {said.at + said.held_for:%Y-%m-%d %H:%M:%S} UTC at least",
        Act.SKIP: f"the bake of {at} ends, and it is not judged",
        Act.RETRY: f"{at} bakes anew, and what was measured in it before is not judged",
    }
    return f"{said.act} by {said}; {means[said.act]}"


def abort(journal: Journal, *, by: str, reason: str, within: timedelta | None = None) -> None:
    """Take a release back and return when it has ended; the watcher does it, or else this process.

    Args:
        within: How long the watcher has to do it.

    Raises:
        InputError: The name is empty; not retried.
        TransientError: Router or fleet stayed away; call again.
    """
    record = Record.read(journal)
    by = by.strip()
    if not by:
        raise InputError("by", by, "the name of who says it")
    if not record.frozen:
        ask_for_abort(journal, by, reason)
        await_end(journal, (within or ABORT_WITHIN) if record.reverting is None else END_WITHIN)
    if Record.read(journal).ended is None or record.frozen:
        why = f"aborted by {by}" + (f": {reason}" if reason else "")
        take_back(journal, reason=why, outcome=Outcome.ABORTED, by=by)
    await_end(journal, END_WITHIN)


def await_end(journal: Journal, within: timedelta) -> None:
    """Wait for the release to end."""
    deadline = time.monotonic() + within.total_seconds()
    while Record.read(journal).ended is None and time.monotonic() < deadline:
        time.sleep(POLL)
