"""What a journal says of its release: read from the lines, never kept beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from tasks.domain.gates import Choice, Decision, OpenGate
from tasks.domain.model import Match, Outcome, Revision, Slot, Split, Traffic
from tasks.domain.parts import EnvoyRouter
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.domain.units import format_duration, parse_duration
from tasks.journal import Journal, Line


@dataclass(frozen=True)
class Opening:
    """A release's first line: frozen, so that every carrier works from the same.

    Attributes:
        stable: The revision that users were on; None for a service's first version.
        replicas: How many copies of stable ran.
        kind: The flow that carries it: a strategy's name, or ``rollback``.
        starter: Who started it; empty where that is not known.
    """

    kind: str
    service: ServiceFile
    version: str
    stable: Revision | None
    replicas: int
    starter: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the first line holds it."""
        return {
            "kind": self.kind,
            "service": self.service.model_dump(mode="json"),
            "version": self.version,
            "stable": {"slot": self.stable.slot, "version": self.stable.version} if self.stable else None,
            "replicas": self.replicas,
            "starter": self.starter,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Opening:
        """Read a first line."""
        service = service_adapter.validate_python(data["service"])
        stable = data["stable"]
        return cls(
            kind=data["kind"],
            service=service,
            version=data["version"],
            stable=Revision(service.service, Slot(stable["slot"]), stable["version"]) if stable else None,
            replicas=data["replicas"],
            starter=data.get("starter", ""),
        )


@dataclass(frozen=True)
class Record:
    """A release as its journal tells it at one moment."""

    release: str
    lines: tuple[Line, ...]

    @classmethod
    def read(cls, journal: Journal) -> Record:
        """Read *journal* as it is now.

        Raises:
            JournalError: The chain is broken; not retried.
        """
        return cls(journal.release, tuple(journal.lines()))

    @cached_property
    def opening(self) -> Opening:
        """The first line."""
        return Opening.from_json(self.lines[0].data)

    @property
    def service(self) -> ServiceFile:
        """The service file that the release was opened with."""
        return self.opening.service

    @property
    def opened_at(self) -> datetime:
        """When the release began."""
        return self.lines[0].at

    @property
    def ended(self) -> Line | None:
        """How it ended: ``outcome`` and ``message``; None while it runs."""
        return self.last("ended")

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs."""
        return Outcome(self.ended.data["outcome"]) if self.ended else None

    @property
    def frozen(self) -> bool:
        """It stopped where it was, and nobody has taken it back since."""
        return self.outcome is Outcome.FROZEN and self.last("thawed") is None

    @property
    def reverting(self) -> Line | None:
        """The first word of the way back: ``reason``, ``outcome`` and ``by``."""
        return self.first("reverting")

    @property
    def abort_asked(self) -> Line | None:
        """A person's request to take the release back."""
        return self.last("abort")

    @property
    def abort(self) -> tuple[str, Outcome]:
        """Why it is to be taken back, where that was asked for, and how it ends then."""
        data = self.abort_asked.data if self.abort_asked else {}
        outcome = Outcome(data.get("outcome", Outcome.ABORTED))
        return data.get("reason") or f"aborted by {data.get('by', 'somebody')}", outcome

    @property
    def gate(self) -> OpenGate | None:
        """The gate that the release waits at; None where it waits at none."""
        line, terms = self.last("gate"), self.service.gates
        if line is None or terms is None or self.gate_of(line.key):
            return None
        deadline = datetime.fromisoformat(line.data["deadline"])
        return OpenGate(line.key, line.data["plan"], deadline, self.opening.starter, terms)

    def gate_of(self, point: str) -> Line | None:
        """What the gate at *point* came to: ``approved``, ``reason`` and ``plan``; None while it waits."""
        lines = [line for line in self.lines if line.kind in ("gate", "ruling") and line.key == point]
        return lines[-1] if lines and lines[-1].kind == "ruling" else None

    @property
    def decisions(self) -> list[Decision]:
        """What was said at the last gate since it opened."""
        opened = self.last("gate")
        lines = [
            line
            for line in self.all("decision")
            if opened and line.at >= opened.at and line.key == opened.key
        ]
        return [decision_of(line) for line in lines]

    @property
    def given_back(self) -> bool:
        """Nothing of the user's own objects is still as the release had it; the embedded proxy has none."""
        return isinstance(self.service.router, EnvoyRouter) or self.last("given-back") is not None

    @property
    def closed(self) -> bool:
        """Ended, and nothing of it is left to be retired, given back or taken back."""
        return self.ended is not None and not self.due and not self.frozen and self.given_back

    @property
    def due(self) -> tuple[tuple[Revision, datetime], ...]:
        """Revisions that are still to be retired, and when. Stable is none of them on the way back."""
        done = {(line.data["slot"], line.data["version"]) for line in self.all("retired")}
        if self.reverting and self.opening.stable:
            done.add((self.opening.stable.slot, self.opening.stable.version))
        waiting = [line for line in self.all("due") if (line.data["slot"], line.data["version"]) not in done]
        return tuple((self._revision(line), datetime.fromisoformat(line.data["when"])) for line in waiting)

    @property
    def run(self) -> str | None:
        """The flow run that carries it, or did last; None for one that no flow has carried."""
        line = self.last("run")
        return str(line.data["id"]) if line else None

    @property
    def asked(self) -> Line | None:
        """The last traffic that was asked for, whether it became live or not."""
        return self.last("asked")

    @property
    def traffic(self) -> Traffic | None:
        """The last traffic that was asked for."""
        return traffic_from_json(self.asked.data) if self.asked else None

    @property
    def live_since(self) -> datetime | None:
        """When the last traffic that was asked for was seen at the data plane."""
        lines = [line for line in self.lines if line.kind in ("asked", "live")]
        return lines[-1].at if lines and lines[-1].kind == "live" else None

    @property
    def served(self) -> Split | None:
        """The split that was live last: the one asked for, or the nearest that the router could give."""
        line = self.last("live")
        return Split(line.data.get("served") or line.data["split"]) if line else None

    @property
    def proven_same(self) -> bool:
        """The guard has proven, since the shares were last changed, that the new version is no worse."""
        same, since = self.last("same"), self.live_since
        return same is not None and since is not None and same.at >= since

    @property
    def may_pass_early(self) -> bool:
        """A proof that the new version is no worse is asked for, and not there yet."""
        return self.service.analysis.early_pass and not self.proven_same

    @property
    def exposed(self) -> tuple[Slot, ...]:
        """Slots of the new version that users' requests can reach."""
        if self.traffic is None or self.opening.stable is None:
            return ()
        old = (self.opening.stable.slot, Slot.BASELINE)
        return tuple(slot for slot in Slot if slot not in old and self.traffic.reaches(slot))

    def result_of(self, key: str) -> Line | None:
        """The recorded outcome of a step; None when it is still to be done."""
        return next(
            (line for line in reversed(self.lines) if line.kind == "outcome" and line.key == key), None
        )

    def first(self, kind: str, key: str | None = None) -> Line | None:
        """The oldest line of a kind."""
        return next((line for line in self.lines if line.kind == kind and key in (None, line.key)), None)

    def last(self, kind: str) -> Line | None:
        """The newest line of a kind."""
        return next((line for line in reversed(self.lines) if line.kind == kind), None)

    def all(self, kind: str) -> list[Line]:
        """Every line of a kind, oldest first."""
        return [line for line in self.lines if line.kind == kind]

    def _revision(self, line: Line) -> Revision:
        return Revision(self.service.service, Slot(line.data["slot"]), line.data["version"])


def decision_of(line: Line) -> Decision:
    """A ``decision`` line."""
    data = line.data
    return Decision(
        at=line.at,
        choice=Choice(data["choice"]),
        by=data["by"],
        reason=data["reason"],
        verified=data["verified"],
        plan=data["plan"],
        held_for=parse_duration(data["held_for"]),
    )


def traffic_to_json(traffic: Traffic) -> dict[str, Any]:
    """A traffic as an ``asked`` line holds it."""
    return {
        "split": traffic.split.to_json(),
        "matched": traffic.matched,
        "matches": [[match.kind, match.name, match.value] for match in traffic.matches],
        "mirror": traffic.mirror,
        "mirror_share": traffic.mirror_share,
        "affinity": traffic.affinity,
        "affinity_key": traffic.affinity_key,
        "affinity_ttl": format_duration(traffic.affinity_ttl),
        "preview": traffic.preview,
    }


def traffic_from_json(data: Mapping[str, Any]) -> Traffic:
    """The traffic of an ``asked`` line."""
    return Traffic(
        split=Split(data["split"]),
        matched=Slot(data["matched"]) if data["matched"] else None,
        matches=tuple(Match(*match) for match in data["matches"]),
        mirror=Slot(data["mirror"]) if data["mirror"] else None,
        mirror_share=data["mirror_share"],
        affinity=data["affinity"],
        affinity_key=data["affinity_key"],
        affinity_ttl=parse_duration(data["affinity_ttl"]),
        preview=Slot(data["preview"]) if data["preview"] else None,
    )
