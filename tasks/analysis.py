"""Judge a step: fetch what the revisions did, side by side, and ask the judge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.futures import PrefectFuture

from tasks.domain.model import Revision, Slot, Split, Verdict, Window
from tasks.domain.units import format_share
from tasks.guard import compare, join, judge_slots
from tasks.journal import Line
from tasks.metrics import open_metrics
from tasks.record import Record
from tasks.release import Carrier, Release
from tasks.step import reading, step

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who judge
    import pandas as pd

MIN_DRAWN = 1
"""A split is judged from the first drawn request on; chance is allowed for."""


def analyse(release: Release, revision: Revision, share: int, attempt: int) -> Verdict:
    """Fetch the series of every slot that has traffic, together, and judge them."""
    record = Carrier.of(release).record
    window = Window(record.live_since or record.opened_at, datetime.now(UTC))
    traffic = record.traffic
    slots = [slot for slot in Slot if traffic and traffic.reaches(slot)]
    series: dict[Slot, PrefectFuture[pd.DataFrame]] = {
        slot: fetch_series.submit(release, slot, window) for slot in slots
    }
    frames = {slot: future.result() for slot, future in series.items()}
    verdict = judge_step(release, revision, share, attempt, frames)
    show_verdict(release, revision, share, verdict)
    return verdict


def show_verdict(release: Release, revision: Revision, share: int, verdict: Verdict) -> None:
    """Put the verdict among the run's artifacts; a server that is away is no reason to go back."""
    rows = "".join(f"| {f.metric} | {f.slot} | {f.result} | {f.reason} |\n" for f in verdict.findings)
    try:
        create_markdown_artifact(
            key=f"verdict-{release.name}",
            description=f"{revision} at {format_share(share)}: {verdict.result}",
            markdown=f"# {verdict.result}\n\n| metric | slot | result | why |\n|---|---|---|---|\n{rows}",
        )
    except Exception as error:  # noqa: BLE001 - whatever the server has, the release goes on
        get_run_logger().warning("The verdict's artifact could not be written: %s", error)


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
    """Judge *revision* by its limits and by the version beside it, and the split by what was counted.

    The verdict and its evidence land in the journal.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    from tasks.judge.split import judge_split  # noqa: PLC0415

    del share, attempt
    record = Carrier.of(release).record
    frame = pd.concat(frames.values(), axis="columns").sort_index()
    verdicts = [judge_slots(record, [revision.slot], frame)]
    if comparing := compare(record):
        comparing.feed(frame)
        verdicts.append(comparing.verdict())
    asked = record.traffic.split if record.traffic else Split.all_to(release.old.slot)
    if len(asked.shares) > 1:
        split = judge_split(frame, asked, release.service.analysis.split_tolerance, MIN_DRAWN)
        verdicts.append(Verdict(split.result, (split,), {"split": asked.to_json()}))
    return join(*verdicts)
