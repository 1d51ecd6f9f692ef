"""Judge a step: hold it, fetch what the revisions did side by side, ask the judge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from prefect.futures import PrefectFuture

from tasks.domain.errors import JudgedError
from tasks.domain.model import Result, Revision, Slot, Split, Verdict, Window
from tasks.guard import SETTLING, judge_slots
from tasks.journal import Line
from tasks.metrics import open_metrics
from tasks.record import Record
from tasks.release import Carrier, Release
from tasks.step import reading, step
from tasks.traffic import bake, match_and_mirror

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who judge
    import pandas as pd

MIN_DRAWN = 1
"""A split is judged from the first drawn request on; chance is allowed for."""
ATTEMPTS = 2
"""A bake whose verdict is marginal or inconclusive is extended once."""


def look_first(release: Release, revision: Revision) -> None:
    """Where the service file says so: testers' requests and copies of users' before users' own.

    Raises:
        JudgedError: The copies were not answered well enough; not retried.
    """
    mirror = release.service.mirror
    if mirror or release.service.matches:
        match_and_mirror(release, revision)
    if mirror:
        hold_and_judge(release, revision, 0, mirror.bake)


def hold_and_judge(release: Release, revision: Revision, share: int, span: timedelta) -> None:
    """Hold the share for *span* and judge it; extend once where the verdict says neither.

    Args:
        share: Basis points that *revision* has now.

    Raises:
        JudgedError: The verdict does not let the release go on; not retried.
        LeaseLostError: The guard took the release back meanwhile; not retried.
    """
    for attempt in range(1, ATTEMPTS + 1):
        bake(release, revision, share, span, attempt)
        verdict = analyse(release, revision, share, attempt)
        if verdict.result is Result.PASS:
            return
        if verdict.result is Result.FAIL:
            break
    msg = f"{revision}: verdict {verdict.result}, expected pass: {verdict.reason}"
    raise JudgedError(msg)


def analyse(release: Release, revision: Revision, share: int, attempt: int) -> Verdict:
    """Fetch the series of every slot that has traffic, together, and judge them."""
    record = Carrier.of(release).record
    window = Window((record.live_since or record.opened_at) + SETTLING, datetime.now(UTC))
    traffic = record.traffic
    slots = [slot for slot in Slot if traffic and traffic.reaches(slot)]
    series: dict[Slot, PrefectFuture[pd.DataFrame]] = {
        slot: fetch_series.submit(release, slot, window) for slot in slots
    }
    frames = {slot: future.result() for slot, future in series.items()}
    return judge_step(release, revision, share, attempt, frames)


@reading("fetch-{slot}")
def fetch_series(release: Release, slot: Slot, window: Window) -> pd.DataFrame:
    """What *slot* did in *window*; see `tasks.metrics.base` for the shape.

    Raises:
        TransientError: The source does not answer; retried.
    """
    return open_metrics(release.service).fetch([slot], window)


def fresh(release: Release, record: Record, done: Line) -> bool:
    """Whether a recorded verdict still counts: it was used already, or is young enough."""
    used = any(line.kind == "asked" and line.at > done.at for line in record.lines)
    return used or datetime.now(UTC) - done.at < release.service.analysis.verdict_ttl


@step("analyse-{revision.slot}-{share:share}-{attempt}", result=Verdict, valid=fresh)
def judge_step(
    release: Release, revision: Revision, share: int, attempt: int, frames: Mapping[Slot, pd.DataFrame]
) -> Verdict:
    """Judge *revision* by its limits, and the split by what was counted.

    The verdict and its evidence land in the journal.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    from tasks.judge.limits import judge_split  # noqa: PLC0415

    del share, attempt
    record = Carrier.of(release).record
    frame = pd.concat(frames.values(), axis="columns").sort_index()
    by_limits = judge_slots(record, [revision.slot], frame)
    asked = record.traffic.split if record.traffic else Split.all_to(release.old.slot)
    if len(asked.shares) == 1:
        return by_limits
    split = judge_split(frame, asked, release.service.analysis.split_tolerance, MIN_DRAWN)
    findings = (*by_limits.findings, split)
    evidence = {**by_limits.evidence, "split": asked.to_json()}
    return Verdict(Result.worst(finding.result for finding in findings), findings, evidence)
