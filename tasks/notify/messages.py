"""What people are told of a release: a function of its journal, one message for a line that matters.

The first line says what happened and whether there is anything to do; reasons come before numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from tasks.domain.gates import place_of
from tasks.domain.model import Outcome, Result
from tasks.domain.notices import Event
from tasks.domain.plan import plan_of
from tasks.domain.units import format_share
from tasks.journal import Line
from tasks.notify.base import Link, Links, Message, one_line
from tasks.record import Record

GOOD = (Outcome.PROMOTED, Outcome.TRIED)
BY_ITSELF = (Outcome.ROLLED_BACK, Outcome.FAILED, Outcome.FROZEN)
"""Ends that no person asked for."""
SHOWN_SHARES = 6
NOTHING = "Nothing to do."
RUN_WITHIN = timedelta(seconds=5)
"""How long the first message waits for the flow run that it links to."""


def messages_of(
    record: Record, on: Collection[Event], links: Links, told: Collection[str] = ()
) -> Iterator[Message]:
    """What *record* has to say, oldest first.

    Args:
        on: Which events matter.
        told: Ids of messages that are not asked for any more.
    """
    for number, line in enumerate(record.lines):
        if line.hash in told or not _matters(record, number, on):
            continue
        if line.kind == "opened" and _run_is_awaited(record):
            return
        yield Said(Record(record.release, record.lines[: number + 1]), record.run, links).message


def _run_is_awaited(record: Record) -> bool:
    young = datetime.now(UTC) - record.opened_at < RUN_WITHIN
    return record.run is None and record.ended is None and young


def _matters(record: Record, number: int, on: Collection[Event]) -> bool:
    line = record.lines[number]
    failed = Event.FAILURE in on and line.data.get("outcome") in BY_ITSELF
    match line.kind:
        case "opened":
            return Event.START in on
        case "gate" | "ruling":
            return Event.GATE in on
        case "outcome":
            return _verdict_matters(line, on)
        case "trouble":
            before = [one.data["what"] for one in record.lines[:number] if one.kind == "trouble"]
            return Event.FAILURE in on and before[-1:] != [line.data["what"]]
        case "ended":
            return failed or Event.END in on
    return failed and line.kind == "reverting"


def _verdict_matters(line: Line, on: Collection[Event]) -> bool:
    """Whether a step's end is a verdict to tell; of one that fails the way back tells, where it is told."""
    result = line.data.get("result")
    if not isinstance(result, Mapping) or "findings" not in result:
        return False
    if result["result"] == Result.PASS:
        return Event.PASSES in on
    return Event.VERDICT in on and not (result["result"] == Result.FAIL and Event.FAILURE in on)


@dataclass(frozen=True)
class Said:
    """The last line of *record*, to be told.

    Attributes:
        run: The flow run that carries the release, if any does.
    """

    record: Record
    run: str | None
    links: Links

    @property
    def message(self) -> Message:
        """The message."""
        make = {
            "opened": self._start,
            "gate": self._gate,
            "ruling": self._decided,
            "outcome": self._verdict,
            "reverting": self._back,
            "trouble": self._trouble,
            "ended": self._end,
        }
        return make[self.record.lines[-1].kind]()

    @cached_property
    def name(self) -> str:
        """Service and version."""
        return f"{self.record.opening.service.service} {self._version}"

    @property
    def _version(self) -> str:
        return one_line(self.record.opening.version, 60)

    @property
    def _stable(self) -> str:
        stable = self.record.opening.stable
        return one_line(stable.version, 60) if stable else ""

    @property
    def _data(self) -> Mapping[str, Any]:
        return self.record.lines[-1].data

    def _make(self, event: str, headline: str, *details: str, **fields: object) -> Message:
        line, opening = self.record.lines[-1], self.record.opening
        url = self.links.run_url(self.run) if self.run else None
        common = {
            "event": event,
            "service": opening.service.service,
            "release": self.record.release,
            "version": opening.version,
            "stable": opening.stable.version if opening.stable else None,
            "strategy": opening.kind,
            "outcome": None,
            "reason": None,
            "run_url": url,
        }
        return Message(
            id=line.hash,
            at=line.at,
            event=event,
            thread=self.record.release,
            subject=f"Release of {self.name} ({self.record.release})",
            headline=headline,
            details=tuple(detail for detail in details if detail),
            links=(Link("The run in Prefect", url),) if url else (),
            fields={**common, **fields},
        )

    def _start(self) -> Message:
        from tasks.notify.words import about  # noqa: PLC0415 - needs pandas

        opening = self.record.opening
        stable = f"stable is {self._stable}" if self._stable else "it is the first version"
        if opening.kind != opening.service.strategy:  # type: ignore[attr-defined]  # each strategy's model has it
            headline = f"{self.name} comes back ({opening.kind}); {stable}. {NOTHING}"
            return self._make("start", headline)
        plan = plan_of(opening.service, opening.replicas, first=opening.stable is None)
        shares = list(dict.fromkeys(format_share(step.share).replace("%", " %") for step in plan.steps))
        if len(shares) > SHOWN_SHARES:
            shares = [*shares[:2], "...", *shares[-2:]]
        took = f", {about(plan.duration)}" if plan.duration else ""
        headline = (
            f"{self.name} is released by {opening.kind}: {', '.join(shares)}{took}; {stable}. {NOTHING}"
        )
        return self._make("start", headline)

    def _gate(self) -> Message:
        from tasks.notify.words import had  # noqa: PLC0415 - needs pandas

        line, gates = self.record.lines[-1], self.record.service.gates
        deadline = datetime.fromisoformat(self._data["deadline"])
        until = moment(deadline, line.at)
        headline = f"Approval needed: {self.name} waits until {until} for approval {place_of(line.key)}."
        now = (
            f"It has {had(self.record)} of the traffic now; stable is {self._stable}." if self._stable else ""
        )
        who = f"Asked are {one_line(', '.join(gates.approvers))}." if gates else ""
        made = self._make("gate", headline, now, who, step=line.key, deadline=deadline.isoformat())
        evidence = tuple(replace(link, text="The evidence") for link in made.links)
        answer = self.links.approve_url(self.record) if self.links.approve_url else None
        decide = (Link("Approve or reject", answer),) if answer else ()
        return replace(made, links=(*decide, *evidence), is_call=True)

    def _decided(self) -> Message:
        reason, approved = one_line(self._data["reason"], 500), self._data["approved"]
        goes = "goes on" if approved else "goes back"
        headline = f"{self.name} {goes}: {reason}. {NOTHING}"
        return self._make("approved" if approved else "rejected", headline, reason=reason)

    def _verdict(self) -> Message:
        from tasks.notify.words import had, verdict_of  # noqa: PLC0415 - needs pandas

        result, said = self._data["result"]["result"], one_line(verdict_of(self.record))
        headline = f"{self.name} was judged at {had(self.record)}: {said}. {NOTHING}"
        reason = None if result == Result.PASS else said
        return self._make("verdict", headline, result=result, step=self.record.lines[-1].key, reason=reason)

    def _back(self) -> Message:
        from tasks.notify.words import had, reason_of  # noqa: PLC0415 - needs pandas

        reason = reason_of(self.record)
        frozen = self.record.service.on_failure == "freeze"
        where = f"back to {self._stable}" if self._stable else "back"
        goes = "it is left as it is for a person to look at" if frozen else f"it goes {where} by itself"
        look, todo = ("Look now: ", "") if frozen else ("", " Nothing to do yet.")
        headline = f"{look}{self.name}: {one_line(reason, 200)}, so {goes}.{todo}"
        found = f"It had {had(self.record)} of the traffic; found by {one_line(self._data['by'], 80)}."
        whole = f"Reason: {one_line(self._data['reason'], 1000)}" if self._data["reason"] else ""
        made = self._make("failure", headline, found, whole, reason=reason, by=self._data["by"])
        return replace(made, is_call=True)

    def _trouble(self) -> Message:
        what = one_line(self._data["what"])
        headline = f"Look now: {self.name} cannot go back to {self._stable or 'nothing'} yet: {what}."
        made = self._make("trouble", headline, "It is tried again and again until it succeeds.", reason=what)
        return replace(made, is_call=True)

    def _end(self) -> Message:
        from tasks.notify.words import about, end_of, reason_of  # noqa: PLC0415 - needs pandas

        outcome = Outcome(self._data["outcome"])
        took = self.record.lines[-1].at - self.record.opened_at
        look = outcome in (Outcome.FROZEN, Outcome.FAILED)
        said = one_line(end_of(self.record), 500)
        headline = f"Look now: {said}." if look else f"{said}. {NOTHING}"
        detail = f"Ended as {outcome} after {about(took).removeprefix('about ')}."
        seconds = round(took.total_seconds(), 3)
        reason = None if outcome in GOOD else reason_of(self.record)
        made = self._make("end", headline, detail, outcome=str(outcome), reason=reason, seconds=seconds)
        return replace(made, is_call=outcome in BY_ITSELF, is_last=outcome is not Outcome.FROZEN)


def moment(at: datetime, seen: datetime) -> str:
    """An instant in UTC; with its day where that is not the day of *seen*."""
    at, seen = at.astimezone(UTC), seen.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == seen.date() else f"{at:%Y-%m-%d %H:%M} UTC"
