"""Acts on a release while it runs: how one is said. Needs no Prefect.

An act is a line of the journal like any other; `tasks.step_acts` says what it means to whoever carries the release.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks import approval
from tasks.domain.acts import Act, Said, refusal
from tasks.domain.errors import ConflictError, InputError, TransientError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome
from tasks.domain.units import format_duration
from tasks.journal import Journal, journal_of
from tasks.record import Record
from tasks.restore import take_back
from tasks.step_acts import StepActs, is_judged, promoted_by, said_in, step_now
from tasks.turns import recent

ABORT_WITHIN = timedelta(seconds=10)
"""How long the watcher has for an abort; after that whoever asked for it does it."""
END_WITHIN = timedelta(minutes=2)
"""How long a way back that is under way is waited for."""
POLL = 0.1
"""Seconds between two looks at whether a release has ended."""
LONGEST = timedelta(days=7)
"""For how long one act may hold."""


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
    if act is Act.HOLD and step and is_judged(record.lines):
        msg = f"{record.release}: found {step} judged already, expected a step that bakes; 'retry' begins it anew"
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
