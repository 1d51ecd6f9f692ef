"""Recorded releases to judge again: from journals, or from files of metric pairs whose outcome is known."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import inf
from pathlib import Path

import pandas as pd

from deployments.judging import read_pairs
from deployments.service_files import read_json
from tasks.domain.analysis import CanaryJudge
from tasks.domain.errors import InputError
from tasks.domain.model import Outcome, Slot
from tasks.domain.pairs import MetricPair
from tasks.journal import Journal
from tasks.judge.evidence import columns_of
from tasks.record import Record
from tasks.report.judged import Judged, judged_in
from tasks.report.series import DRAWABLE, counts_of, values_of
from tasks.report.story import deciding_of

KEYS = ("outcome", "pairs", "began", "step")
"""What a file of pairs may hold."""
STEP: timedelta = CanaryJudge.model_fields["step"].default
"""Between two points where a file doesn't say."""


class Known(StrEnum):
    """What a recorded version was."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, eq=False)
class Paired:
    """One share of a release, as metric pairs.

    Attributes:
        step: Between two points.
    """

    pairs: tuple[MetricPair, ...]
    step: timedelta

    @property
    def points(self) -> int:
        """Length of the longest series."""
        return max(max(len(pair.control), len(pair.experiment)) for pair in self.pairs)

    def until(self, points: int) -> Paired:
        """What was known after so many points."""
        cut = [
            replace(pair, control=pair.control[:points], experiment=pair.experiment[:points])
            for pair in self.pairs
        ]
        return replace(self, pairs=tuple(cut))


@dataclass(frozen=True, eq=False)
class Counted:
    """One share of a release, as its metric source counted it.

    Attributes:
        frame: As `tasks.metrics.base` describes it.
        other: The slot that the candidate is compared with; None where it was alone.
        restarts: How often the candidate's replicas died, counted at the end.
        step: Between two points, usually.
    """

    frame: pd.DataFrame
    candidate: Slot
    other: Slot | None
    restarts: int
    mirrored: bool
    step: timedelta

    @property
    def points(self) -> int:
        """How many samples there are."""
        return len(self.frame)

    def until(self, points: int) -> Counted:
        """What was known after so many points; deaths are known at the end only."""
        restarts = self.restarts if points >= self.points else 0
        return replace(self, frame=self.frame.iloc[:points], restarts=restarts)


Stage = Paired | Counted


@dataclass(frozen=True, eq=False)
class Case:
    """A recorded release.

    Attributes:
        stages: Each share that was judged, in order; it may be there in both kinds.
        began: How many points were good before the regression.
    """

    name: str
    known: Known
    stages: tuple[Stage, ...]
    began: int = 0


@dataclass(frozen=True)
class LeftOut:
    """A recorded release that is not judged again, and why."""

    name: str
    why: str


def read_folder(folder: Path, metrics: Collection[str]) -> Iterator[Case]:
    """Every file of pairs in *folder*: ``*.json``, or plain lists of pairs in ``good/`` and ``bad/``.

    Args:
        metrics: The names that are judged; pairs of others are left out.

    Raises:
        InputError: A file is not as it should be; not retried.
    """
    for path in sorted(folder.glob("*.json")):
        yield _case(path, path.stem, read_json(path, "releases"), metrics)
    for known in Known:
        for path in sorted((folder / known).glob("*.json")):
            content = {"outcome": known, "pairs": read_json(path, "releases")}
            yield _case(path, f"{known}/{path.stem}", content, metrics)


def _case(path: Path, name: str, content: object, metrics: Collection[str]) -> Case:
    """One file's release.

    Raises:
        InputError: It is not as it should be; the field begins with the file's path; not retried.
    """
    try:
        return _read(name, content, metrics)
    except InputError as error:
        field = f"{path}: {error.field}"
        raise InputError(field, error.found, error.expected) from error


def _read(name: str, content: object, metrics: Collection[str]) -> Case:
    if not isinstance(content, Mapping) or not set(content) <= set(KEYS):
        found = sorted(content) if isinstance(content, Mapping) else type(content).__name__
        raise InputError("content", found, f"an object with the keys {', '.join(KEYS)}")
    known = outcome("outcome", content.get("outcome"))
    pairs = read_pairs(content.get("pairs"))
    judged = tuple(pair for pair in pairs if pair.name in metrics)
    if not judged:
        names = sorted({pair.name for pair in pairs})
        raise InputError("pairs", names, f"at least one of the metrics {', '.join(sorted(metrics))}")
    step = content.get("step", STEP.total_seconds())
    if not isinstance(step, int | float) or isinstance(step, bool) or not 0 < step < inf:
        raise InputError("step", step, "seconds between two points, more than 0")
    stage, began = Paired(judged, timedelta(seconds=step)), content.get("began", 0)
    if not isinstance(began, int) or isinstance(began, bool) or not 0 <= began < stage.points:
        raise InputError("began", began, f"the index of one of the {stage.points} points")
    return Case(name, known, (stage,), began)


def outcome(field: str, found: object) -> Known:
    """The outcome that a person wrote.

    Raises:
        InputError: It is none; not retried.
    """
    if not isinstance(found, str) or found not in set(Known):
        raise InputError(field, found, " or ".join(Known))
    return Known(found)


def read_labels(path: Path) -> dict[str, Known]:
    """Outcomes by release: a JSON object, or CSV with the columns ``release`` and ``outcome``.

    Raises:
        InputError: The file is not as it should be; not retried.
    """
    content = read_json(path, "labels") if path.suffix == ".json" else _read_csv(path)
    if not isinstance(content, Mapping):
        raise InputError("labels", type(content).__name__, "an object of outcomes by release")
    return {str(name): outcome(f"labels.{name}", found) for name, found in content.items()}


def _read_csv(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"release", "outcome"} <= set(rows.fieldnames or ()):
                raise InputError("labels", rows.fieldnames, "the columns release and outcome")
            return {row["release"]: row["outcome"] for row in rows}
    except OSError as error:
        raise InputError("labels", str(path), f"a file that can be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("labels", str(path), f"CSV or JSON: {error}") from error


def read_journal(journal: Journal, metrics: Collection[str], labels: Mapping[str, Known]) -> Case | LeftOut:
    """One release, as its journal tells it; what was compared is every share that was judged.

    Raises:
        JournalError: The journal was tampered with; not retried.
    """
    record = Record.read(journal)
    judged = judged_in(record)
    known = labels.get(record.release) or _known(record, judged)
    if known is None:
        return LeftOut(record.release, _unknown(record))
    shares: dict[datetime, list[Judged]] = {}
    for one in reversed(judged):
        shares.setdefault(one.since, []).append(one)
    stages = tuple(stage for since in sorted(shares) for stage in _stages(record, shares[since], metrics))
    if not stages:
        return LeftOut(record.release, "nothing of it was judged")
    return Case(record.release, known, stages)


def _known(record: Record, judged: tuple[Judged, ...]) -> Known | None:
    """What the end says of the version; None where it says nothing."""
    if record.outcome in (Outcome.PROMOTED, Outcome.TRIED):
        return Known.GOOD
    return Known.BAD if record.outcome is Outcome.ROLLED_BACK and deciding_of(record, judged) else None


def _unknown(record: Record) -> str:
    """Why the end says nothing of the version."""
    if record.outcome is None:
        return "has not ended"
    return f"ended as {record.outcome}, not because of a judge or the guard"


def _stages(record: Record, judged: Sequence[Judged], metrics: Collection[str]) -> Iterator[Stage]:
    """What was seen of one share: the longest of what its verdicts, newest first, rest on."""
    framed = max((one for one in judged if one.frames), key=lambda one: len(one.frames[0]), default=None)
    counted = _counted(record, framed) if framed else None
    recorded = [Paired(pairs, one.pairs[0].step) for one in judged if (pairs := _recorded(one, metrics))]
    if counted:
        yield counted
    if recorded:
        yield max(recorded, key=lambda paired: paired.points)
    elif counted and counted.other and (names := [name for name in DRAWABLE if name in metrics]):
        yield _paired(counted, names)


def _recorded(judged: Judged, metrics: Collection[str]) -> tuple[MetricPair, ...]:
    """The pairs that a canary config's queries gave."""
    return tuple(
        MetricPair(one.name, one.control, one.experiment, one.tags)
        for one in judged.pairs
        if one.name in metrics
    )


def _counted(record: Record, judged: Judged) -> Counted:
    evidence, frame = judged.verdict.evidence["limits"][0], judged.frames[0]
    stable = record.opening.stable
    beside = [Slot.BASELINE, *([stable.slot] if stable else [])]
    slots = {slot for slot, _ in columns_of(frame)}
    seconds = frame.index.to_series().diff().dt.total_seconds().median()
    return Counted(
        frame=frame,
        candidate=Slot(evidence["candidate"]),
        other=next((slot for slot in beside if slot in slots), None),
        restarts=evidence["restarts"],
        mirrored=evidence["mirrored"],
        step=timedelta(seconds=float(seconds)) if len(frame) > 1 else STEP,
    )


def _paired(counted: Counted, names: Sequence[str]) -> Paired:
    """The metrics that counts give, as pairs."""
    control, experiment = (
        counts_of(counted.frame, [str(slot)]) for slot in (counted.other, counted.candidate)
    )
    pairs = [MetricPair(name, values_of(control, name), values_of(experiment, name)) for name in names]
    return Paired(tuple(pairs), counted.step)
