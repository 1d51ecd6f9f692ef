"""Judge a step: fetch what the revisions did, side by side, and ask the judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from prefect.futures import PrefectFuture

from tasks.artifacts import show_verdict
from tasks.domain.analysis import CanaryJudge
from tasks.domain.errors import PermanentError
from tasks.domain.model import Result, Revision, Slot, Verdict, Window
from tasks.guard import beside, compare, join, judge_slots
from tasks.journal import Line
from tasks.metrics import open_metrics
from tasks.record import Record
from tasks.release import Carrier, Release
from tasks.step import reading, step
from tasks.step_acts import StepActs, step_name, step_of

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who judge
    import pandas as pd

    from tasks.metrics.canary_queries import Sides
    from tasks.metrics.templates import Scope

PATIENCE = timedelta(seconds=30)
"""How long all of a canary config's queries may take together, with further tries."""
MIN_DRAWN = 1
"""A split is judged from the first drawn request on; chance is allowed for."""


def analyse(release: Release, revision: Revision, share: int, attempt: int) -> Verdict:
    """Fetch the series of every slot that has traffic, together, and judge them."""
    record = Carrier.of(release).record
    since = StepActs(record, step_name(revision.slot, share)).since
    window = Window(since or record.opened_at, datetime.now(UTC))
    traffic, control = record.traffic, beside(record)
    slots = [slot for slot in Slot if traffic and traffic.reaches(slot)]
    series: dict[Slot, PrefectFuture[pd.DataFrame]] = {
        slot: fetch_series.submit(release, slot, window) for slot in slots
    }
    asked = (
        query_canary.submit(release, revision.slot, control, window)
        if control and release.service.analysis.canary
        else None
    )
    frames = {slot: future.result() for slot, future in series.items()}
    verdict = judge_step(release, revision, share, attempt, Seen(frames, asked.result() if asked else None))
    show_verdict(release.name, revision, share, verdict)
    return verdict


@reading("fetch-{slot}")
def fetch_series(release: Release, slot: Slot, window: Window) -> pd.DataFrame:
    """What *slot* did in *window*; see `tasks.metrics.base` for the shape.

    Raises:
        TransientError: The source does not answer; retried.
    """
    return open_metrics(release.service).fetch([slot], window)


def fresh(release: Release, record: Record, done: Line) -> bool:
    """Whether a recorded verdict still counts: it was used already, or is young enough and of this beginning."""
    if not StepActs(record, step_of(done.key)).counts(done):
        return False
    used = any(line.kind == "asked" and line.at > done.at for line in record.lines)
    return used or datetime.now(UTC) - done.at < release.service.analysis.verdict_ttl


@step("judge-{revision.slot}-{share:share}-after-{span}", result=Verdict, valid=fresh)
def judge_meanwhile(release: Release, revision: Revision, share: int, span: timedelta) -> Verdict:
    """Judge *revision* by the canary config while its step still bakes, *span* after it began.

    Returns:
        A verdict that fails where nothing more is to be waited for.
    """
    from tasks.judge.canary import ends_early  # noqa: PLC0415 - as above

    record, terms = Carrier.of(release).record, release.service.analysis.canary
    control, since = beside(record), StepActs(record, step_name(revision.slot, share)).since
    if terms is None or control is None or since is None:
        return Verdict(Result.INCONCLUSIVE)
    queried = query_canary(release, revision.slot, control, Window(since, since + span))
    verdict = judge_queried(release, revision.slot, terms, queried)
    show_verdict(release.name, revision, share, verdict)
    if not ends_early(terms, verdict):
        return verdict
    findings = tuple(replace(finding, result=Result.FAIL) for finding in verdict.findings)
    return replace(verdict, result=Result.FAIL, findings=findings)


@step("skip-{revision.slot}-{share:share}", result=str)
def skip_analysis(release: Release, revision: Revision, share: int) -> str:
    """Leave the step unjudged, because a person said so.

    Returns:
        The act, who said it, and why.
    """
    record = Carrier.of(release).record
    said = StepActs(record, step_name(revision.slot, share)).override
    if said is None:
        msg = f"{revision}: found nobody to have skipped its analysis, expected somebody"
        raise PermanentError(msg)
    return f"{said.act} by {said}"


@dataclass(frozen=True)
class Queried:
    """What a canary config's queries gave.

    Attributes:
        window: Whole steps.
    """

    window: Window
    sides: Sides


@dataclass(frozen=True)
class Seen:
    """What a step is judged by.

    Attributes:
        frames: By slot, as the metric source gave them.
    """

    frames: Mapping[Slot, pd.DataFrame]
    queried: Queried | None = None


@reading("query-canary-config")
def query_canary(release: Release, slot: Slot, control: Slot, window: Window) -> Queried:
    """Ask the canary config's queries of *slot* and of *control*, over whole steps that end with *window*.

    Raises:
        InputError: A query can't be built; not retried.
        TransientError: The server does not answer; retried.
    """
    from tasks.judge.canary_config import read_config  # noqa: PLC0415 - as above
    from tasks.metrics.canary_queries import Source, fetch_sides  # noqa: PLC0415

    analysis = release.service.analysis
    terms = analysis.canary
    if terms is None or analysis.canary_url is None:
        msg = f"{release.name}: found no canary config, expected one"
        raise PermanentError(msg)
    config, _ = read_config(terms.config, strict=terms.judge == "davy")
    span = min(window.end - window.start, terms.lookback or timedelta.max)
    start = window.end - span // terms.step * terms.step
    asked = Window(start, window.end)
    theirs, own = (scope_of(release, terms, one, asked) for one in (control, slot))
    source = Source(analysis.canary_url, analysis.metrics.timeout, PATIENCE)
    return Queried(asked, fetch_sides(config, theirs, own, source, packed=terms.judge == "kayenta"))


def scope_of(release: Release, terms: CanaryJudge, slot: Slot, window: Window) -> Scope:
    """What the config's variables stand for on one side."""
    from tasks.metrics.templates import Scope  # noqa: PLC0415 - as above

    version = release.old.version if slot in (release.old.slot, Slot.BASELINE) else release.version
    fill = partial(terms.filled, service=release.name, slot=str(slot), version=version)
    extended = {name: fill(value) for name, value in terms.parameters.items()}
    return Scope(fill(terms.scope), terms.location, window.start, window.end, terms.step, extended)


@step("analyse-{revision.slot}-{share:share}-{attempt}", result=Verdict, valid=fresh)
def judge_step(
    release: Release,
    revision: Revision,
    share: int,
    attempt: int,
    seen: Seen,
) -> Verdict:
    """Judge *revision* by its limits, by the version beside it, and the split by what was counted.

    The verdict and its evidence land in the journal.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    del share, attempt
    record = Carrier.of(release).record
    frame = pd.concat(seen.frames.values(), axis="columns").sort_index()
    verdicts = [judge_slots(record, [revision.slot], frame)]
    if comparing := compare(record):
        comparing.feed(frame)
        verdicts.append(comparing.verdict())
    if seen.queried and release.service.analysis.canary:
        terms, queried = release.service.analysis.canary, seen.queried
        verdicts.append(judge_queried(release, revision.slot, terms, queried))
    if by_split := judge_realised(record, frame):
        verdicts.append(by_split)
    return join(*verdicts)


def judge_realised(record: Record, frame: pd.DataFrame) -> Verdict | None:
    """Hold the split that was counted against the one that was asked for.

    Returns:
        None where all traffic is on one slot, or where the source does not tell drawn requests from
        those that testers or users who are kept where they are have sent.
    """
    from tasks.judge.split import judge_split, knows_drawn  # noqa: PLC0415 - as above

    traffic = record.traffic
    if traffic is None or len(traffic.split.shares) == 1:
        return None
    drawn = knows_drawn(frame)
    if not drawn and (traffic.matches or traffic.affinity):
        return None
    tolerance, measure = record.service.analysis.split_tolerance, "drawn" if drawn else "requests"
    asked = record.served or traffic.split
    split = judge_split(frame, asked, tolerance, MIN_DRAWN, measure=measure)
    return Verdict(split.result, (split,), {"split": asked.to_json()})


def judge_queried(release: Release, slot: Slot, terms: CanaryJudge, queried: Queried) -> Verdict:
    """Judge by the canary config; noise is drawn from the release's own seed."""
    from tasks.judge.canary import judge_canary  # noqa: PLC0415 - as above

    sides, seed = queried.sides, crc32(release.id.encode())
    return judge_canary(terms, sides.control, sides.experiment, slot=slot, window=queried.window, seed=seed)
