"""How judges did in a backtest: rates with their intervals, delays, and the table that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from statistics import NormalDist, median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.backtest_cases import Known, LeftOut
from tasks.domain.model import Result
from tasks.report.words import number, span

CONFIDENCE = 0.95
"""Of the intervals of the rates: Wilson's, JASA 22, 1927, which hold for few releases too."""
NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

LEGEND = """\
Each share judged once, at its end: false pass, of the bad versions; false fail, of the good ones; undecided,
marginal or inconclusive. Judged after every point: false alarm, of the good versions; found after, of the bad
ones, the median from when they became bad. Below the rates their 95 % intervals."""


@dataclass(frozen=True)
class Rate:
    """So many of all, with the interval of the true part at `CONFIDENCE`."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The part, 0 to 1; None of none."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's; all of 0 to 1 of none."""
        if not self.of:
            return 0.0, 1.0
        part, squared = self.count / self.of, NORMAL**2
        centre = (part + squared / (2 * self.of)) / (1 + squared / self.of)
        half = (
            NORMAL / (1 + squared / self.of) * sqrt(part * (1 - part) / self.of + squared / (4 * self.of**2))
        )
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"count": self.count, "of": self.of, "rate": self.value, "interval": list(self.interval)}

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({self.count} of {self.of})\n{100 * low:.0f} to {100 * high:.0f} %"


@dataclass(frozen=True)
class Delay:
    """From the beginning of a regression to the first look that fails."""

    points: int
    time: timedelta


@dataclass(frozen=True)
class Replayed:
    """What one judge said of one release.

    Attributes:
        result: The worst of all its shares, each judged once, at its end.
        delay: Of a bad version, when it was looked at all the time; None where it was never found,
            or had failed before it was bad.
        alarm: It failed, when it was looked at all the time, while it was not bad.
    """

    name: str
    known: Known
    result: Result
    delay: Delay | None = None
    alarm: bool = False


@dataclass(frozen=True)
class Score:
    """How one judge did.

    Attributes:
        silent: Releases that do not hold what it needs.
    """

    judge: str
    replayed: tuple[Replayed, ...]
    silent: tuple[str, ...]

    def rate(self, known: Known, *results: Result) -> Rate:
        """How many of the releases of one kind got one of *results*."""
        of_kind = [one for one in self.replayed if one.known is known]
        return Rate(sum(one.result in results for one in of_kind), len(of_kind))

    @property
    def false_pass(self) -> Rate:
        """Bad versions that passed."""
        return self.rate(Known.BAD, Result.PASS)

    @property
    def false_fail(self) -> Rate:
        """Good versions that failed."""
        return self.rate(Known.GOOD, Result.FAIL)

    @property
    def false_alarm(self) -> Rate:
        """Good versions that failed at some moment, looked at all the time."""
        good = [one for one in self.replayed if one.known is Known.GOOD]
        return Rate(sum(one.alarm for one in good), len(good))

    @property
    def before(self) -> int:
        """How many bad versions failed before they were bad."""
        return sum(one.alarm for one in self.replayed if one.known is Known.BAD)

    @property
    def undecided(self) -> Rate:
        """Releases of both kinds that were marginal or inconclusive."""
        between = (Result.MARGINAL, Result.INCONCLUSIVE)
        return Rate(sum(one.result in between for one in self.replayed), len(self.replayed))

    @property
    def delays(self) -> list[Delay]:
        """Of the bad versions that it found, shortest first."""
        return sorted((one.delay for one in self.replayed if one.delay), key=lambda delay: delay.time)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        delays = self.delays
        return {
            "judge": self.judge,
            "releases": len(self.replayed),
            "false_pass": self.false_pass.to_json(),
            "false_fail": self.false_fail.to_json(),
            "inconclusive": self.undecided.to_json(),
            "false_alarm": self.false_alarm.to_json(),
            "before_the_regression": self.before,
            "delay": {
                "found": len(delays),
                "points_median": median(delay.points for delay in delays) if delays else None,
                "seconds_median": median(delay.time.total_seconds() for delay in delays) if delays else None,
            },
            "results": {one.name: one.result for one in self.replayed},
            "not_asked": list(self.silent),
        }


@dataclass(frozen=True)
class Backtest:
    """How all judges did on the same releases."""

    scores: tuple[Score, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        left_out = [{"release": one.name, "why": one.why} for one in self.left_out]
        return {"judges": [score.to_json() for score in self.scores], "left_out": left_out}


def print_backtest(console: Console, found: Backtest) -> None:
    """The table for people, and what was left out."""
    console.print(_table(found.scores))
    console.print(LEGEND, style="dim")
    for score in found.scores:
        if silent := len(score.silent):
            console.print(
                f"{score.judge} could not judge {silent} that do not hold what it needs (see --json)"
            )
        if early := score.before:
            console.print(f"{score.judge} failed {early} bad versions before they were bad")
    for one in found.left_out:
        console.print(f"left out: {escape(one.name)}: {escape(one.why)}", style="dim", soft_wrap=True)


def _table(scores: Sequence[Score]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in (
        "judge",
        "releases",
        "false pass",
        "false fail",
        "undecided",
        "false alarm",
        "found after",
    ):
        table.add_column(column)
    for score in scores:
        rates = (score.false_pass, score.false_fail, score.undecided, score.false_alarm)
        table.add_row(score.judge, str(len(score.replayed)), *map(str, rates), _delay(score))
    return table


def _delay(score: Score) -> str:
    bad = sum(one.known is Known.BAD for one in score.replayed)
    if not score.delays:
        return f"never (0 of {bad})" if bad else "-"
    points = median(delay.points for delay in score.delays)
    time = timedelta(seconds=median(delay.time.total_seconds() for delay in score.delays))
    return f"{span(time)}, {number(points)} points\n({len(score.delays)} of {bad})"
