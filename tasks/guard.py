"""The guard: one look at a candidate that has traffic. Needs no Prefect.

The watcher calls it at every interval of a bake, a gate or a promotion; the journal keeps
each failed check, so that a watcher that was restarted counts on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.domain.errors import TransientError
from tasks.domain.model import Finding, Health, Result, Slot, Verdict, Window
from tasks.domain.plan import plan_of
from tasks.fleets import open_fleet
from tasks.metrics import open_metrics
from tasks.record import Record

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who judge
    import pandas as pd

    from tasks.judge.comparisons import Comparing


log = logging.getLogger("davy.guard")


class Guard:
    """Guards one release, and remembers what it has compared since the shares were last changed."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._comparing: Comparing | None = None

    def check(self, record: Record) -> Verdict:
        """Judge what the new version did since its share was last changed.

        Limits are held against the guard's window, comparisons against all of it. A pass means
        only that nothing is wrong yet; inconclusive, that too little was seen.

        Raises:
            TransientError: The fleet does not answer; try again at the next interval.
        """
        since = record.live_since
        if since is None or not record.exposed:
            return Verdict(Result.INCONCLUSIVE)
        now = datetime.now(UTC)
        start = max(since, now - record.service.analysis.window)
        if since != self._since:
            self._since, self._comparing = since, compare(record)
        unseen = (self._comparing.until or since) if self._comparing else start
        frame = seen_in(record, Window(min(start, unseen), now))
        recent = frame[frame.index > start] if unseen < start else frame
        by_limits = judge_slots(record, record.exposed, recent)
        if self._comparing is None:
            return by_limits
        return join(by_limits, self._compared(self._comparing, record, frame, Window(since, now)))

    def _compared(self, comparing: Comparing, record: Record, frame: pd.DataFrame, whole: Window) -> Verdict:
        """What is proven by now; limits are held whatever trouble a comparison meets."""
        try:
            comparing.feed(frame)
            verdict = comparing.verdict()
        except Exception as trouble:  # no sample may switch the guard off
            log.exception("%s: could not be compared", record.release)
            reason = f"the comparison with {comparing.terms.other} failed: {trouble}"
            finding = Finding("comparison", comparing.terms.candidate, Result.INCONCLUSIVE, None, reason)
            return Verdict(Result.INCONCLUSIVE, (finding,))
        if verdict.result is Result.FAIL:
            return with_samples(verdict, seen_in(record, whole))
        return verdict

    @property
    def is_same(self) -> bool:
        """Whether the new version is proven to keep every bound that comparisons set it."""
        return self._comparing is not None and self._comparing.is_same


def compare(record: Record) -> Comparing | None:
    """A comparison of the new version with the one beside it, to be fed from now on.

    Returns:
        None where only one version has traffic, or the service file compares nothing.
    """
    from tasks.judge.comparisons import Comparing  # noqa: PLC0415 - as above
    from tasks.judge.standings import Terms, proof_of  # noqa: PLC0415

    asked = {str(metric): terms for metric, terms in record.service.analysis.compare.items()}
    other = beside(record)
    if not asked or other is None:
        return None
    proof = proof_of(record.service, plan_of(record.service, record.opening.replicas))
    slot = record.exposed[0]
    return Comparing(Terms(asked, slot, other, proof, mirrored=is_mirrored(record, slot)))


def with_samples(verdict: Verdict, frame: pd.DataFrame) -> Verdict:
    """*verdict* with all samples that it rests on among its evidence."""
    from tasks.judge.evidence import evidence_of  # noqa: PLC0415 - as above

    return replace(verdict, evidence={**verdict.evidence, "compared": evidence_of(frame)})


def beside(record: Record) -> Slot | None:
    """The slot that the new version is compared with: the baseline where it has a share, else stable."""
    stable, traffic = record.opening.stable, record.traffic
    if stable is None or traffic is None or not record.exposed:
        return None
    return next((slot for slot in (Slot.BASELINE, stable.slot) if traffic.split[slot]), None)


def join(*verdicts: Verdict) -> Verdict:
    """One verdict of several: the worst finding decides."""
    findings = tuple(finding for verdict in verdicts for finding in verdict.findings)
    evidence = {key: value for verdict in verdicts for key, value in verdict.evidence.items()}
    return Verdict(Result.worst(finding.result for finding in findings), findings, evidence)


def seen_in(record: Record, window: Window) -> pd.DataFrame:
    """The series of *window*; none while their source is away, for deaths are seen without it."""
    import pandas as pd  # noqa: PLC0415 - as above

    slots = [*record.exposed, *filter(None, [beside(record)])]
    try:
        return open_metrics(record.service).fetch(slots, window)
    except TransientError:
        return pd.DataFrame(index=pd.DatetimeIndex([], name="at", tz="UTC"))


def judge_slots(record: Record, slots: Collection[Slot], frame: pd.DataFrame) -> Verdict:
    """Hold each of *slots* against the service file's limits; the worst finding decides."""
    from tasks.judge.limits import judge_limits  # noqa: PLC0415 - as above

    verdicts = [
        judge_limits(
            frame,
            record.service.analysis.limits,
            slot,
            restarts=deaths(record, slot),
            mirrored=is_mirrored(record, slot),
        )
        for slot in slots
    ]
    return replace(join(*verdicts), evidence={"limits": [verdict.evidence for verdict in verdicts]})


def overdrawn(record: Record, verdict: Verdict) -> bool:
    """Whether *verdict*, with the failed checks before it in this step, is one too many."""
    since = record.live_since
    failed = Counter(
        metric for line in record.all("check") if since and line.at >= since for metric in line.data["failed"]
    )
    failed.update(failed_metrics(verdict))
    allowed = {str(metric): limit.failures for metric, limit in record.service.analysis.limits.items()}
    return any(failed[metric] > allowed.get(metric, 0) for metric in failed_metrics(verdict))


def failed_metrics(verdict: Verdict) -> list[str]:
    """The metrics that broke their limit."""
    return sorted({finding.metric for finding in verdict.findings if finding.result is Result.FAIL})


def deaths(record: Record, slot: Slot) -> int:
    """How often replicas of *slot* died; one that is down now counts even before it is back."""
    replicas = [r for r in open_fleet(record.service).observe() if r.revision.slot == slot]
    return sum(max(replica.restarts, int(replica.health is Health.DOWN)) for replica in replicas)


def is_mirrored(record: Record, slot: Slot) -> bool:
    """Whether *slot* gets copies of requests and no user's own."""
    traffic = record.traffic
    return traffic is not None and traffic.mirror == slot and not traffic.split[slot]
