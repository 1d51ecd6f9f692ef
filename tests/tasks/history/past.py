"""Journals of releases of the past: the lines that a history reads, at stated moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.domain.model import Outcome, Revision, Slot, Split, Traffic
from tasks.journal import Line
from tasks.journal.journal import START
from tasks.record import Opening, traffic_to_json
from tests.rig.fakes import make_service

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Past:
    """One release's journal. It began *ago* before `NOW`; *after* is in seconds since then.

    Where it is not to *save* each line, `save` writes them all.
    """

    def __init__(  # its arguments are what releases differ in
        self,
        journals: Path,
        release: str = "r1",
        *,
        service: str = "shop",
        version: str = "v2",
        stable: str | None = "v1",
        kind: str = "canary",
        ago: timedelta = timedelta(days=1),
        save: bool = True,
        **opening: Any,  # noqa: ANN401 - as a journal's line
    ) -> None:
        self.path = journals / service / f"{release}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.began, self._saves = NOW - ago, save
        self.name = f"{service} {version}"
        self._before, self._encoded = START, b""
        old = Revision(service, Slot.BLUE, stable) if stable else None
        first = Opening(kind, make_service("canary", service), version, old, 4).to_json()
        self.line(0, "opened", **first, **opening)

    def line(self, after: float, kind: str, key: str = "", /, **data: Any) -> Past:  # noqa: ANN401 - as above
        """One line more."""
        line = Line(self.began + timedelta(seconds=after), 1, kind, key, data, self._before)
        self._before = line.hash
        self._encoded += line.encode()
        return self.save() if self._saves else self

    def save(self) -> Past:
        """Write the file."""
        self.path.write_bytes(self._encoded)
        return self

    def live(self, after: float, **shares: int) -> Past:
        """A split, in percent by slot, that was asked for and became live."""
        split = Split({Slot(slot): 100 * percent for slot, percent in shares.items()})
        self.line(after, "asked", **traffic_to_json(Traffic(split)))
        return self.line(after, "live", split=split.to_json())

    def ended(self, after: float, outcome: Outcome, message: str = "") -> Past:
        """Its end."""
        return self.line(after, "ended", outcome=outcome, message=message or f"{self.name} {outcome}")

    def promoted(self, after: float = 600) -> Past:
        """Two shares, then all, then its end."""
        self.live(10, candidate=5, baseline=5, blue=90).live(300, candidate=50, blue=50)
        return self.live(after - 60, green=100).ended(after, Outcome.PROMOTED)

    def failed(
        self,
        after: float = 60,
        reason: str = "too many errors",
        *,
        outcome: Outcome = Outcome.ROLLED_BACK,
        by: str = "guard",
        checked: bool = True,
    ) -> Past:
        """5 % of users, a failed check where *checked*, and all of them back on stable after 2 s."""
        self.live(10, candidate=5, baseline=5, blue=90)
        if checked:
            self.line(after, "check", failed=["error_rate"], reason=reason, evidence={})
        self.line(after + 0.5, "reverting", reason=reason, outcome=outcome, by=by)
        return self.live(after + 2, blue=100).ended(after + 3, outcome, reason)

    def stopped(self, after: float = 20, reason: str = "never became healthy") -> Past:
        """Taken back before any user had it."""
        self.line(after, "reverting", reason=reason, outcome=Outcome.ROLLED_BACK, by="flow")
        return self.ended(after + 1, Outcome.ROLLED_BACK, reason)

    def rolled_back(self, after: float = 5) -> Past:
        """A rollback, done."""
        return self.live(after, green=100).ended(after + 1, Outcome.PROMOTED)
