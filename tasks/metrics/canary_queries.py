"""Series for a canary config: its queries, asked of a Prometheus server, all side by side.

A missing value is NaN in its place; a metric without any is no series at all. What the server
refuses or fails to answer is an error, never a lack of data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic, sleep

import numpy as np

from tasks.domain.canary import CanaryConfig, MetricConfig
from tasks.domain.errors import InputError, PermanentError, TransientError
from tasks.domain.pairs import Series, Values
from tasks.metrics.server import Matrix, Server
from tasks.metrics.templates import Scope, expand_query

MOST_POINTS = 11_000
"""How many points of a series Prometheus gives in one answer."""

MOST_PIECES = 20
"""How many answers one query may take: 220,000 points, two and a half days second by second."""

AT_ONCE = 8
"""How many queries are under way at a time; a server runs 20 by default, for all who ask it."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before the first further try, and at most; each wait is twice the one before."""

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Source:
    """Where a config's queries are asked.

    Attributes:
        url: Of the Prometheus server.
        timeout: For one answer.
        patience: After so long nothing is asked any more, of all queries together.
    """

    url: str
    timeout: timedelta
    patience: timedelta


@dataclass(frozen=True)
class Sides:
    """The series of both sides, in the order of the config's metrics."""

    control: list[Series]
    experiment: list[Series]


@dataclass(frozen=True)
class Grid:
    """The moments that a window has values for: ``first`` to ``last`` steps after its start."""

    start: datetime
    step: timedelta
    first: int
    last: int

    @property
    def pieces(self) -> Iterator[tuple[datetime, datetime]]:
        """First and last moment of each answer."""
        for first in range(self.first, self.last + 1, MOST_POINTS):
            last = min(first + MOST_POINTS - 1, self.last)
            yield self.start + first * self.step, self.start + last * self.step

    def place(self, points: Sequence[tuple[float, float]]) -> Values:
        """The values of *points* (milliseconds since 1970, value) on the grid; NaN where there is none."""
        values = np.full(self.last - self.first + 1, np.nan)
        if points:
            moments, found = np.array(points, dtype="float64").T
            begin = round(self.start.timestamp() * 1000)
            where = np.rint((moments - begin) / (self.step / _MILLISECOND)).astype(int) - self.first
            inside = (where >= 0) & (where < len(values))
            values[where[inside]] = found[inside]
        return values


@dataclass(frozen=True)
class _Question:
    """One metric's query, on one side."""

    metric: str
    query: str
    grid: Grid


def fetch_series(config: CanaryConfig, scope: Scope, source: Source, *, packed: bool = False) -> list[Series]:
    """What each metric of *config* measured in *scope*; see `fetch_sides`.

    Raises:
        TransientError: As there; retried.
        PermanentError: As there; not retried.
    """
    (series,) = _fetch(config, (scope,), source, packed=packed)
    return series


def fetch_sides(
    config: CanaryConfig, control: Scope, experiment: Scope, source: Source, *, packed: bool = False
) -> Sides:
    """What each metric of *config* measured on both sides.

    Values stand at each step after a scope's start, up to its end. A query that may succeed
    later is asked again.

    Args:
        packed: As Kayenta has them: from the start itself on, which tells of the time before,
            and without the places of missing values.

    Raises:
        InputError: A query can't be built or is of another source, or a step and its window
            don't go together; not retried.
        TransientError: The server did not answer all within the source's patience; retried.
        PermanentError: The server refuses a query; not retried.
    """
    return Sides(*_fetch(config, (control, experiment), source, packed=packed))


def _fetch(
    config: CanaryConfig, scopes: Sequence[Scope], source: Source, *, packed: bool
) -> list[list[Series]]:
    """The series of each scope. All queries are built before the first is asked."""
    questions = [
        _question(config, metric, scope, packed=packed) for scope in scopes for metric in config.metrics
    ]
    give_up = monotonic() + source.patience.total_seconds()
    ask = partial(_answer, source=source, give_up=give_up, packed=packed)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # When one fails, those that are not under way yet are never asked.
        answers = iter(list(pool.map(ask, questions)))
    return [[series for _ in config.metrics for series in next(answers)] for _ in scopes]


def _question(config: CanaryConfig, metric: MetricConfig, scope: Scope, *, packed: bool) -> _Question:
    kind, subject = metric.query.get("type"), f"metrics.{metric.name}"
    if kind != "prometheus":
        field = f"{subject}.query.type"
        raise InputError(field, kind, "prometheus")
    try:
        query = expand_query(metric.query, config.templates, scope)
    except InputError as error:
        field = f"{subject}.{error.field}"
        raise InputError(field, error.found, error.expected) from error
    return _Question(metric.name, query, _grid(scope, packed=packed))


def _grid(scope: Scope, *, packed: bool) -> Grid:
    """The moments of *scope*; a time just after its start is the first that tells of nothing before."""
    if scope.step < _MILLISECOND or scope.step % _MILLISECOND:
        raise InputError("step", str(scope.step), "whole milliseconds")
    last = (scope.end - scope.start) // scope.step
    if not 1 <= last <= MOST_POINTS * MOST_PIECES:
        fitting = f"1 to {MOST_POINTS * MOST_PIECES} steps in the window of {scope.end - scope.start}"
        raise InputError("step", str(scope.step), fitting)
    return Grid(scope.start, scope.step, 0 if packed else 1, last)


def _answer(question: _Question, *, source: Source, give_up: float, packed: bool) -> list[Series]:
    """The series that one query gives, one for each set of labels."""
    found: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    try:
        with Server(source.url, source.timeout) as server:
            for start, end in question.grid.pieces:
                for series in _insist(server, question, start, end, give_up):
                    points = found.setdefault(frozenset(series["metric"].items()), [])
                    points += [(at * 1000, float(value)) for at, value in series.get("values", ())]
    except (TransientError, PermanentError) as error:
        msg = f"metric {question.metric}: {error}"
        raise type(error)(msg) from error
    return [
        Series(
            question.metric,
            {name: value for name, value in sorted(labels) if name != "__name__"},
            np.array([value for _, value in points]) if packed else question.grid.place(points),
        )
        for labels, points in found.items()
    ]


def _insist(server: Server, question: _Question, start: datetime, end: datetime, give_up: float) -> Matrix:
    """Ask until there is an answer, or until *give_up* (monotonic seconds)."""
    wait = FIRST_WAIT
    while True:
        if monotonic() > give_up:
            msg = f"{server.url}: not asked any more, expected all answers within the source's patience"
            raise TransientError(msg)
        try:
            return server.points(question.query, start, end, question.grid.step)
        except TransientError:
            if wait > give_up - monotonic():
                raise
        sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
