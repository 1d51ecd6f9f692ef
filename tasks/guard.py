"""The guard: one look at a candidate that has traffic. Needs no Prefect.

The watcher calls it at every interval of a bake, a gate or a promotion; the journal keeps
each failed check, so that a watcher that was restarted counts on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tasks.domain.errors import TransientError
from tasks.domain.model import Health, Result, Slot, Verdict, Window
from tasks.fleets import open_fleet
from tasks.metrics import open_metrics
from tasks.record import Record

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who judge
    import pandas as pd


def check(record: Record) -> Verdict:
    """Judge what the new version did since its share was last changed, in the guard's window.

    A pass means only that nothing is wrong yet; inconclusive, that too little was seen.

    Raises:
        TransientError: The fleet does not answer; try again at the next interval.
    """
    analysis = record.service.analysis
    since = record.live_since
    if since is None or not record.exposed:
        return Verdict(Result.INCONCLUSIVE)
    now = datetime.now(UTC)
    window = Window(max(since, now - analysis.window), now)
    return judge_slots(record, record.exposed, seen_in(record, window))


def seen_in(record: Record, window: Window) -> pd.DataFrame:
    """The series of *window*; none while their source is away, for deaths are seen without it."""
    import pandas as pd  # noqa: PLC0415 - as above

    try:
        return open_metrics(record.service).fetch(record.exposed, window)
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
    findings = tuple(finding for verdict in verdicts for finding in verdict.findings)
    evidence = {"limits": [verdict.evidence for verdict in verdicts]}
    return Verdict(Result.worst(finding.result for finding in findings), findings, evidence)


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
