"""Judge a canary several times: when, over which windows, and what the scores amount to.

As Kayenta's standalone analysis does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.domain.canary import CanaryConfig
from tasks.domain.errors import InputError
from tasks.judge.judgement import Judgement, Score

FEWEST_POINTS = 50
"""With fewer points of a control than this Kayenta warns."""


@dataclass(frozen=True)
class Span:
    """From *start* to *end*."""

    start: datetime
    end: datetime

    def earlier(self, offset: timedelta) -> Span:
        """The same, *offset* before."""
        return Span(self.start - offset, self.end - offset)


@dataclass(frozen=True)
class Window:
    """What one judgement looks at, the first being number 1."""

    number: int
    experiment: Span
    control: Span


@dataclass(frozen=True)
class Schedule:
    """When a canary is judged.

    Attributes:
        end: Where it is given, the data is there already, and nothing is waited for.
        lifetime: How long to judge; only read without *end*.
        interval: Between judgements; none, 0 and more than the lifetime all mean one judgement at the end.
        begin_after: How long to wait first; without *end* all windows begin so much later.
        lookback: Each window's length; 0 for all since the start.
        control_offset: How much earlier the control is looked at.
    """

    start: datetime
    end: datetime | None = None
    lifetime: timedelta | None = None
    interval: timedelta | None = None
    begin_after: timedelta = timedelta(0)
    lookback: timedelta = timedelta(0)
    control_offset: timedelta = timedelta(0)

    @property
    def length(self) -> timedelta:
        """Of the whole.

        Raises:
            InputError: Neither *end* nor *lifetime*, or nothing lies between; not retried.
        """
        found = self.end - self.start if self.end else self.lifetime
        if found is None:
            raise InputError("lifetime", None, "a lifetime or an end")
        if found <= timedelta(0):
            raise InputError("end" if self.end else "lifetime", str(found), "time to judge in")
        return found

    def windows(self) -> tuple[Window, ...]:
        """What each judgement looks at; what remains of the lifetime after the last is not judged.

        Raises:
            InputError: As `length`.
        """
        every = self._every()
        return tuple(self._window(number, every) for number in range(1, self.length // every + 1))

    def steps(self) -> Iterator[timedelta | Window]:
        """What is done in turn: a wait, or a judgement.

        Raises:
            InputError: As `length`.
        """
        if self.begin_after:
            yield self.begin_after
        for window in self.windows():
            if not self.end:
                yield self._every()
            yield window

    def _every(self) -> timedelta:
        return self.interval if self.interval and self.interval <= self.length else self.length

    def _window(self, number: int, every: timedelta) -> Window:
        late = timedelta(0) if self.end else self.begin_after
        end = self.start + late + number * every
        span = Span(end - self.lookback if self.lookback else self.start + late, end)
        return Window(number, span, span.earlier(self.control_offset))


def stops(score: float, marginal: float | None) -> bool:
    """Whether nothing is judged any more after *score*. One that only meets *marginal* stops too."""
    return marginal is not None and score <= marginal


def final_score(scores: Sequence[float], passing: float | None, marginal: float | None) -> Score:
    """Pass or Fail, from the last score alone. A threshold that is None asks for nothing."""
    if not scores or stops(scores[-1], marginal):
        return Score.FAIL
    return Score.PASS if passing is None or scores[-1] >= passing else Score.FAIL


def in_order(names: Iterable[str]) -> list[str]:
    """Runs that are named ``... #3`` by their number."""
    return sorted(names, key=lambda name: int(name.rpartition("#")[2]))


def few_points(config: CanaryConfig, judgement: Judgement) -> list[str]:
    """A warning where controls have less than `FEWEST_POINTS`; Kayenta does not count those of Datadog."""
    exempt = {metric.name for metric in config.metrics if metric.query.get("type") == "datadog"}
    few = {
        f"{result.name} {result.control.count}": None
        for result in judgement.results
        if result.control.count < FEWEST_POINTS and result.name not in exempt
    }
    if not few:
        return []
    return [str(InputError("control points", ", ".join(few), f"at least {FEWEST_POINTS} of each metric"))]
