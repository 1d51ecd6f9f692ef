"""DORA's four figures, over one span and one service or many. Pure.

DORA counts *deployments*: changes that reached users. Here that is a release of a new version, so a
rollback is none: it puts an earlier one right. Which releases count in which figure:

* **Deployment frequency**: those that ended promoted, by week.
* **Lead time for changes**: of the same, from the commit where the journal's first line has one, else
  from the release's own start, until it was promoted. How many count from a commit is told beside it.
* **Change failure rate**: of the deployments that users had a share of, the part that made the service
  worse or had to be put right: those that ended rolled back, failed or frozen; those that a person ended
  after a check had failed; and promoted ones that a later ``rollback`` took back. Tried ones count as good.
  Two kinds of releases are on neither side, and are told beside it: those that went back before any user
  was on them (`End.STOPPED`), and those that somebody withdrew although no check had failed.
* **Time to restore**: of the failed deployments, from when one was found to be bad until all users were on
  the right version again. Of a promoted one that was rolled back later, it is the rollback's time.

A figure of nothing is None, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain
from math import ceil
from typing import Any

from tasks.domain.model import Outcome
from tasks.history.entry import WITHDRAWN, Entry

WEEK = timedelta(weeks=1)


_UNITS = ((2 * 86_400, 86_400, "d"), (5400, 3600, "h"), (90, 60, "min"))
"""From so many seconds on, a duration is told in a unit of so many seconds."""


class End(StrEnum):
    """What became of a release of a new version, as the figures count it."""

    PROMOTED = "promoted"
    TRIED = "tried"
    FAILED = "failed"
    """Users had it, and it was taken back, or should be."""
    STOPPED = "stopped"
    """Taken back before any user had it."""
    WITHDRAWN = "withdrawn"
    """Ended by a person, or by a newer release."""


@dataclass(frozen=True)
class Spread:
    """Durations in two numbers; the 90th percentile is the shortest that nine in ten do not exceed."""

    median: timedelta
    p90: timedelta
    of: int

    @classmethod
    def over(cls, spans: Collection[timedelta]) -> Spread | None:
        """Of *spans*; None of none."""
        ordered = sorted(spans)
        if not ordered:
            return None
        count = len(ordered)
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        return cls(middle, ordered[ceil(0.9 * count) - 1], count)

    def __str__(self) -> str:
        return f"{rounded(self.median)} ({rounded(self.p90)})"

    def to_json(self) -> dict[str, Any]:
        """For ``--json``, in seconds."""
        return {
            "median_seconds": round(self.median.total_seconds(), 3),
            "p90_seconds": round(self.p90.total_seconds(), 3),
            "of": self.of,
        }


@dataclass(frozen=True)
class Figures:
    """DORA's four, and what stands beside them.

    Attributes:
        promoted: Releases that were promoted, also those that a rollback took back later.
        ends: How many releases of new versions ended in which way.
        lead_time: None where none was promoted.
        from_commit: How many lead times count from a commit.
        restoring: None where nothing was restored.
        unrestored: Failed deployments that users were not taken from, or not yet.
        rollbacks: How many rollbacks put an earlier release right.
    """

    span: timedelta
    promoted: int
    ends: Mapping[End, int]
    lead_time: Spread | None
    from_commit: int
    restoring: Spread | None
    unrestored: int
    rollbacks: int

    @property
    def releases(self) -> int:
        """All releases of new versions that have ended."""
        return sum(self.ends.values())

    @property
    def per_week(self) -> float | None:
        """Promoted releases by week; None where no release ended."""
        return self.promoted * (WEEK / self.span) if self.releases else None

    @property
    def deployments(self) -> int:
        """What the change failure rate is a part of."""
        return sum(self.ends[end] for end in (End.PROMOTED, End.TRIED, End.FAILED))

    @property
    def failure_rate(self) -> float | None:
        """The change failure rate, 0 to 1; None without deployments."""
        return self.ends[End.FAILED] / self.deployments if self.deployments else None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "releases": self.releases,
            "ends": {str(end): count for end, count in self.ends.items()},
            "promoted": self.promoted,
            "promoted_per_week": self.per_week,
            "lead_time": self.lead_time.to_json() if self.lead_time else None,
            "lead_times_from_commit": self.from_commit,
            "deployments": self.deployments,
            "change_failure_rate": self.failure_rate,
            "time_to_restore": self.restoring.to_json() if self.restoring else None,
            "not_restored": self.unrestored,
            "rollbacks": self.rollbacks,
        }


@dataclass(frozen=True)
class Tally:
    """What figures are made of, for one service or more; the attributes are those of `Figures`."""

    ends: Counter[End]
    lead_times: tuple[timedelta, ...]
    from_commit: int
    restoring: tuple[timedelta, ...]
    unrestored: int
    rollbacks: int

    def figures(self, span: timedelta) -> Figures:
        """The figures over *span*."""
        return Figures(
            span=span,
            promoted=len(self.lead_times),
            ends={end: self.ends[end] for end in End},
            lead_time=Spread.over(self.lead_times),
            from_commit=self.from_commit,
            restoring=Spread.over(self.restoring),
            unrestored=self.unrestored,
            rollbacks=self.rollbacks,
        )

    @classmethod
    def over(cls, tallies: Collection[Tally]) -> Tally:
        """Of several services together."""
        return cls(
            sum((one.ends for one in tallies), Counter()),
            tuple(chain.from_iterable(one.lead_times for one in tallies)),
            sum(one.from_commit for one in tallies),
            tuple(chain.from_iterable(one.restoring for one in tallies)),
            sum(one.unrestored for one in tallies),
            sum(one.rollbacks for one in tallies),
        )


def tally_of(entries: Sequence[Entry], since: datetime, until: datetime) -> Tally:
    """Count those of *entries* that ended from *since* to *until* (aware UTC)."""
    within = [entry for entry in entries if entry.ended and since <= entry.ended <= until]
    undone = undone_by(within)
    ends = _ends(within, undone)
    promoted = [entry for entry in ends if entry.outcome is Outcome.PROMOTED]
    failed = [entry for entry, end in ends.items() if end is End.FAILED and entry not in undone]
    restored = [span for entry in (*failed, *undone.values()) if (span := entry.restoring) is not None]
    return Tally(
        ends=Counter(ends.values()),
        lead_times=tuple(span for entry in promoted if (span := entry.lead_time) is not None),
        from_commit=sum(entry.from_commit for entry in promoted),
        restoring=tuple(restored),
        unrestored=len(failed) + len(undone) - len(restored),
        rollbacks=sum(entry.is_rollback and entry.outcome is Outcome.PROMOTED for entry in within),
    )


def ends_of(entries: Sequence[Entry]) -> dict[Entry, End]:
    """How each release of a new version that has ended counts, in the order given."""
    return _ends(entries, undone_by(entries))


def undone_by(entries: Sequence[Entry]) -> dict[Entry, Entry]:
    """Promoted releases that a rollback took back later, each with that rollback.

    A rollback goes back from the version that was promoted last before it; what undoes another
    rollback undoes no release.
    """
    undone: dict[Entry, Entry] = {}
    newest: dict[str, Entry] = {}
    services = {entry.service for entry in entries if entry.is_rollback}
    of_them = [entry for entry in entries if entry.service in services]
    for entry in sorted(of_them, key=lambda one: one.began):
        if entry.outcome is not Outcome.PROMOTED:
            continue
        before = newest.get(entry.service)
        newest[entry.service] = entry
        if entry.is_rollback and before and not before.is_rollback and before.version == entry.stable:
            undone[before] = entry
    return undone


def _ends(entries: Sequence[Entry], undone: Collection[Entry]) -> dict[Entry, End]:
    return {
        entry: End.FAILED if entry in undone else _end(entry)
        for entry in entries
        if entry.outcome and not entry.is_rollback
    }


def _end(entry: Entry) -> End:
    if entry.outcome is Outcome.PROMOTED:
        return End.PROMOTED
    if entry.outcome is Outcome.TRIED:
        return End.TRIED
    if entry.outcome in WITHDRAWN and not entry.degraded:
        return End.WITHDRAWN
    return End.FAILED if entry.exposed else End.STOPPED


def rounded(span: timedelta) -> str:
    """A duration in few characters, to two digits or whole: ``4.5 s``, ``47 min``, ``9.4 h``, ``12 d``."""
    seconds = span.total_seconds()
    size, unit = next(((size, unit) for since, size, unit in _UNITS if seconds >= since), (1, "s"))
    count = seconds / size
    return f"{count:.0f} {unit}" if count >= 9.95 else f"{count:.1f} {unit}"  # noqa: PLR2004 - two digits
