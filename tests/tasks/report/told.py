"""Journals of releases that never were, for reports: lines at stated seconds, frames with stated numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.domain.analysis import Limit
from tasks.domain.model import Outcome, Result, Revision, Slot, Split, Traffic, Verdict
from tasks.domain.spec import ServiceFile
from tasks.journal import Journal, Line
from tasks.journal.journal import START
from tasks.judge.limits import judge_limits
from tasks.record import Opening, Record, traffic_to_json
from tests.rig.fakes import make_service

BEGAN = datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
STABLE = Revision("shop", Slot.BLUE, "1.1")
BOUNDS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
"""Of latency buckets, in milliseconds."""


class Told:
    """A journal, written line by line; *after* is in seconds since the release began."""

    def __init__(
        self,
        folder: Path,
        version: str = "1.2-errors",
        *,
        service: ServiceFile | None = None,
        stable: Revision | None = STABLE,
        release: str = "r1",
        opened: float = 0,
    ) -> None:
        self.path = folder / "shop" / f"{release}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._before = START
        self.service = service or make_service("canary")
        opening = Opening("canary", self.service, version, stable, 4)
        self.line(opened, "opened", **opening.to_json())

    def line(self, after: float, kind: str, key: str = "", /, **data: Any) -> None:  # noqa: ANN401 - as a journal
        """One line."""
        line = Line(BEGAN + timedelta(seconds=after), 1, kind, key, data, self._before)
        self._before = line.hash
        with self.path.open("ab") as file:
            file.write(line.encode())

    def live(self, after: float, **shares: int) -> None:
        """A split, in percent by slot, that was asked for and became live."""
        split = Split({Slot(slot): 100 * percent for slot, percent in shares.items()})
        self.line(after, "asked", **traffic_to_json(Traffic(split)))
        self.line(after, "live", split=split.to_json())

    def verdict(self, after: float, verdict: Verdict, step: str = "analyse-candidate-20%-1") -> None:
        """A judged step."""
        findings = [vars(finding) for finding in verdict.findings]
        result = {"result": verdict.result, "findings": findings, "evidence": verdict.evidence}
        self.line(after, "outcome", step, result=result)

    def check(self, after: float, verdict: Verdict) -> None:
        """A check of the guard that failed."""
        failed = sorted({f.metric for f in verdict.findings if f.result is Result.FAIL})
        self.line(after, "check", failed=failed, reason=verdict.reason, evidence=verdict.evidence)

    def back(
        self, after: float, reason: str, by: str = "guard", outcome: Outcome = Outcome.ROLLED_BACK
    ) -> None:
        """The way back, to its end."""
        self.line(after, "reverting", reason=reason, outcome=outcome, by=by)
        self.live(after + 0.1, blue=100)
        self.line(after + 0.2, "ended", outcome=outcome, message=reason)

    @property
    def record(self) -> Record:
        """What was told so far."""
        return Record.read(Journal(self.path))


def frame_of_counts(
    slots: Mapping[str, Sequence[tuple[int, int]]],
    *,
    after: float = 0,
    latency: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Requests and errors by slot, one sample a second.

    Args:
        after: When the first one ended, in seconds since the release began.
        latency: By slot, the upper bound of the bucket that every request is in; 10 ms where left out.
    """
    content: dict[tuple[str, str], list[float]] = {}
    for slot, samples in slots.items():
        took = (latency or {}).get(slot, 10.0)
        requests = [float(requests) for requests, _ in samples]
        content[slot, "requests"] = content[slot, "drawn"] = requests
        content[slot, "errors"] = [float(errors) for _, errors in samples]
        content[slot, "mirrored"] = content[slot, "mirrored_errors"] = [0.0] * len(samples)
        for bound in (*BOUNDS, np.inf):
            content[slot, f"le:{bound:g}"] = [count if bound >= took else 0.0 for count in requests]
    rows = len(next(iter(slots.values())))
    at = pd.date_range(BEGAN + timedelta(seconds=after), periods=rows, freq="1s", unit="ms", name="at")
    return pd.DataFrame(
        content, index=at, columns=pd.MultiIndex.from_tuples(content, names=["slot", "measure"])
    )


def judged(frame: pd.DataFrame, slot: Slot = Slot.CANDIDATE, deaths: int = 0, **limits: Limit) -> Verdict:
    """The verdict of the limits, with its evidence as a journal holds it."""
    verdict = judge_limits(frame, limits or {"error_rate": Limit(max=1)}, slot, restarts=deaths)  # type: ignore[arg-type]  # metrics by name
    return Verdict(verdict.result, verdict.findings, {"limits": [verdict.evidence]})


def taken_back(folder: Path, version: str = "1.2-errors") -> Told:
    """A canary whose candidate failed 5 % of its requests, found by the guard after 5 s at 20 %."""
    told = Told(folder, version)
    told.line(0.5, "intent", "provision-candidate-1")
    told.line(1.5, "outcome", "provision-candidate-1", result=None)
    told.live(2, candidate=20, baseline=20, blue=60)
    told.line(2.1, "intent", "bake-candidate-20%-1")
    verdict = judged(frame_of_counts({"candidate": [(40, 2)] * 5, "baseline": [(40, 0)] * 5}, after=3))
    told.check(7, verdict)
    told.back(7, verdict.reason)
    return told


def promoted(folder: Path) -> Told:
    """A canary that passed at 20 % and at 50 %."""
    told = Told(folder, "1.2")
    told.live(2, candidate=20, blue=80)
    frame = frame_of_counts({"candidate": [(20, 0)] * 8, "blue": [(80, 0)] * 8}, after=3)
    told.verdict(11, judged(frame))
    told.live(12, candidate=50, blue=50)
    frame = frame_of_counts({"candidate": [(50, 0)] * 8, "blue": [(50, 0)] * 8}, after=13)
    told.verdict(21, judged(frame), "analyse-candidate-50%-1")
    told.live(22, green=100)
    told.line(30, "ended", outcome=Outcome.PROMOTED, message="shop Promoted: 1.2")
    return told
