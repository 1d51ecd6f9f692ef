"""The story of a release: what its journal tells, ordered for people. No plots here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.domain.acts import Act
from tasks.domain.model import Outcome, Result, Slot
from tasks.domain.plan import Plan, plan_of
from tasks.domain.units import WHOLE
from tasks.record import Record
from tasks.report.judged import Judged, Pair, judged_in
from tasks.report.measured import Metric, metrics_of
from tasks.report.series import Role
from tasks.report.words import cause, headline


@dataclass(frozen=True)
class Share:
    """A split that became live: basis points by role."""

    at: datetime
    shares: Mapping[Role, int]


@dataclass(frozen=True)
class Done:
    """A step. `until` is None when it was not ended."""

    key: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True)
class Deed:
    """Something that somebody did."""

    at: datetime
    who: str
    what: str


@dataclass(frozen=True, eq=False)
class Story:
    """What happened in a release.

    Attributes:
        stable: The version that users were on; empty for a service's first version.
        headline: How it went, in one sentence.
        cause: Why it did not go on; empty when it did.
        message: The journal's own last word.
        deciding: The verdict that took it back, if one did.
        metrics: What decided first, then what failed, then the rest.
        plan: What was to be done; None for a way back to the previous version.
        seal: Hash of the journal's last line.
    """

    release: str
    service: str
    kind: str
    version: str
    stable: str
    began: datetime
    ended: datetime | None
    outcome: Outcome | None
    headline: str
    cause: str
    message: str
    shares: tuple[Share, ...]
    steps: tuple[Done, ...]
    judged: tuple[Judged, ...]
    deciding: Judged | None
    deeds: tuple[Deed, ...]
    metrics: tuple[Metric, ...]
    roles: Mapping[str, Role]
    back_at: datetime | None
    plan: Plan | None
    seal: str

    @property
    def duration(self) -> timedelta:
        """Until its end, or until now."""
        return (self.ended or datetime.now(UTC)) - self.began

    @property
    def is_good(self) -> bool:
        """It ended as it should."""
        return self.outcome in (Outcome.PROMOTED, Outcome.TRIED)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The metric pairs that were judged last, what failed first."""
        judged = [one for one in self.judged if one.pairs]
        deciding = self.deciding if self.deciding and self.deciding.pairs else None
        last = deciding or (judged[-1] if judged else None)
        order = ("High", "Low", "NodataFailMetric", "Error", "Inconclusive", "Pass", "Nodata")
        return tuple(sorted(last.pairs, key=lambda pair: _rank(pair, order))) if last else ()

    def to_json(self) -> dict[str, Any]:
        """The summary for ``--json``."""
        return {
            "release": self.release,
            "service": self.service,
            "strategy": self.kind,
            "version": self.version,
            "stable": self.stable or None,
            "outcome": self.outcome,
            "headline": self.headline,
            "cause": self.cause or None,
            "began": self.began.isoformat(),
            "ended": self.ended.isoformat() if self.ended else None,
            "seconds": round(self.duration.total_seconds(), 3),
            "failed": [metric.name for metric in self.metrics if metric.result is Result.FAIL],
            "verdicts": [one.to_json() for one in self.judged],
        }


def story_of(record: Record) -> Story:
    """Read the story out of *record*, a release that has begun; it may still run."""
    opening, judged = record.opening, judged_in(record)
    deciding = deciding_of(record, judged)
    good = record.outcome in (Outcome.PROMOTED, Outcome.TRIED)
    over = bool(record.ended or record.reverting)
    first = opening.stable is None
    planned = opening.kind == opening.service.strategy  # type: ignore[attr-defined]  # each strategy's model has it
    roles = _roles(record)
    return Story(  # long, as there is a line for each field
        release=record.release,
        service=opening.service.service,
        kind=opening.kind,
        version=opening.version,
        stable=opening.stable.version if opening.stable else "",
        began=record.opened_at,
        ended=record.ended.at if record.ended else None,
        outcome=record.outcome,
        headline=headline(record, judged, deciding),
        cause=cause(record, deciding) if over and not good else "",
        message=str(record.ended.data["message"]) if record.ended else "",
        shares=tuple(_shares(record, roles)),
        steps=_steps(record),
        judged=judged,
        deciding=deciding,
        deeds=_deeds(record),
        metrics=metrics_of(judged, deciding, roles),
        roles=roles,
        back_at=record.reverting.at if record.reverting else None,
        plan=plan_of(opening.service, opening.replicas, first=first) if planned else None,
        seal=record.lines[-1].hash,
    )


def deciding_of(record: Record, judged: tuple[Judged, ...]) -> Judged | None:
    """The last verdict that the word of the way back repeats."""
    word = record.reverting or record.ended
    reason = str(word.data.get("reason") or word.data.get("message")) if word else ""
    bad = [one for one in judged if one.verdict.result is not Result.PASS and word and one.at <= word.at]
    return next((one for one in reversed(bad) if one.verdict.reason in reason), None)


def _roles(record: Record) -> dict[str, Role]:
    stable = record.opening.stable
    roles = {str(slot): Role.NEW for slot in Slot} | {str(Slot.BASELINE): Role.BASELINE}
    return roles | ({str(stable.slot): Role.OLD} if stable else {})


def _shares(record: Record, roles: Mapping[str, Role]) -> list[Share]:
    """The live splits, with the one before the release in front where it is known."""
    before = [Share(record.opened_at, {Role.OLD: WHOLE})] if record.opening.stable else []
    for line in record.all("live"):
        shares = dict.fromkeys(Role, 0)
        for slot, points in line.data["split"].items():
            shares[roles[slot]] += points
        before.append(Share(line.at, {role: points for role, points in shares.items() if points}))
    return before


def _steps(record: Record) -> tuple[Done, ...]:
    ends = {line.key: line.at for line in record.all("outcome")}
    begins = {line.key: line.at for line in reversed(record.all("intent"))}
    return tuple(Done(key, at, ends.get(key)) for key, at in sorted(begins.items(), key=lambda item: item[1]))


def _deeds(record: Record) -> tuple[Deed, ...]:
    """Who did what: everything that is no step."""
    words: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "opened": lambda _data: f"opened the release of {record.opening.version}",
        "run": lambda data: f"carried it (flow run {data['id']})",
        "carried": lambda _data: "took it over",
        "abort": lambda _data: "asked for it to be taken back",
        "check": lambda data: f"found a check failed: {data['reason']}",
        "same": lambda _data: "proved that the new version is no worse than allowed",
        "drift": lambda data: f"found that somebody else changed it: {data['what']}",
        "gate": lambda _data: "waited for approval",
        "decision": lambda data: f"said {data['choice']} at the gate{_because(data)}",
        "void": lambda data: f"voided what was said at the gate: {data['reason']}",
        "ruling": lambda data: f"{'passed' if data['approved'] else 'ended'} the gate: {data['reason']}",
        "reverting": lambda data: f"began the way back: {data['reason']}",
        "trouble": lambda data: f"could not go back yet: {data['what']}",
        "given-back": lambda _data: "gave the user's own objects back",
        "thawed": lambda _data: "took the frozen release back",
        "retired": lambda data: f"retired {data['slot']} ({data['version']})",
        "ended": lambda data: f"ended it as {data['outcome']}",
    }
    usual = {"check": "guard", "same": "guard", "opened": "flow", "run": "flow", "drift": "flow"}
    acts = {
        Act.PROMOTE: "had the rest of bakes and analyses skipped",
        Act.HOLD: "had {place} last {held_for} longer",
        Act.SKIP: "had {place} end unjudged",
        Act.RETRY: "had {place} begin anew",
    }
    deeds, carrier = [], "flow"
    for line in record.lines:
        if line.kind == "carried":
            carrier = str(line.data["by"])
        if line.kind in words:
            who = line.data.get("by") or usual.get(line.kind, carrier)
            deeds.append(Deed(line.at, str(who), words[line.kind](line.data)))
        elif line.kind == "act":
            did = acts[Act(line.key)].format_map(line.data)
            deeds.append(
                Deed(line.at, str(line.data["by"]), f"{did}{_because({'verified': False} | dict(line.data))}")
            )
    return tuple(deeds)


def _because(data: Mapping[str, Any]) -> str:
    how = " (verified)" if data["verified"] else " (claimed)"
    return how + (f": {data['reason']}" if data["reason"] else "")


def _rank(pair: Pair, order: tuple[str, ...]) -> int:
    return order.index(str(pair.result.classification)) if pair.result else len(order)
