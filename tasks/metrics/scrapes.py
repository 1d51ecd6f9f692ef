"""From raw scrapes of a preset's series to samples: what each slot did between two looks at a target.

Each series of each target is differenced on its own, so that one that restarts, or is born with
its first error, is counted right beside the others. Targets are scraped at moments of their
own; their increments are brought to common ones, so that slots can be compared row by row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isfinite
from operator import itemgetter
from statistics import mode
from typing import Any

from tasks.domain.errors import PermanentError
from tasks.domain.model import Slot, Window
from tasks.metrics.counters import Sample, increments
from tasks.metrics.presets import Preset
from tasks.metrics.server import Matrix

UP, STARTED = "up", "process_start_time_seconds"
"""Tell when a target was scraped, also without any series of a slot, and when it has restarted."""

Target = tuple[str, str]
"""Job and instance."""

Labels = frozenset[tuple[str, str]]
"""What tells a counter, or all buckets of a histogram, from others."""

Counts = dict[str, int]
"""By bucket's bound; a counter has one without a bound."""


@dataclass
class Scrape:
    """One target at one moment.

    Attributes:
        started: When its process began, in seconds since 1970; None where it does not say.
        slots: By slot, its series.
    """

    started: float | None = None
    slots: dict[Slot, dict[Labels, Counts]] = field(default_factory=dict)


class Scrapes:
    """All scrapes of the targets that have series of a slot."""

    def __init__(self) -> None:
        self._by_target: dict[Target, dict[int, Scrape]] = {}

    @property
    def targets(self) -> list[Target]:
        """Those whose series were read."""
        return sorted(self._by_target)

    def read_slot(self, slot: Slot, series: Matrix) -> None:
        """Take in raw samples of *slot*."""
        for one in series:
            bound = one["metric"].get("le", "")
            key = frozenset(one["metric"].items() - {("le", bound)})
            scrapes = self._by_target.setdefault(_target(one), {})
            for at, value in _numbers(one):
                counts = scrapes.setdefault(at, Scrape()).slots.setdefault(slot, {})
                counts.setdefault(key, {})[bound] = int(value)

    def read_health(self, series: Matrix) -> None:
        """Take in raw samples of `UP` and `STARTED`, of targets that are known by now."""
        for one in series:
            scrapes = self._by_target.get(_target(one), {})
            looks = (sample for sample in _numbers(one) if sample[1])  # a scrape that failed is none
            for at, value in looks:
                scrape = scrapes.setdefault(at, Scrape())
                if one["metric"]["__name__"] == STARTED:
                    scrape.started = value

    def samples(self, service: str, preset: Preset, window: Window) -> Iterator[Sample]:
        """What each slot did in *window*, at moments that all targets share.

        Each moment has what was counted between each target's last scrape up to then and its
        next one. So a window that begins at one such moment goes on where one that ended with
        it has stopped: nothing is counted twice, and nothing is left out.

        Raises:
            PermanentError: A request's series doesn't have the status; not retried.
        """
        step = self._step()
        if step is None:
            return
        last = self._last_whole(step, int(window.end.timestamp() * 1000))
        for scrapes in self._by_target.values():
            for at, slot, grown in _growth(scrapes, window.start.timestamp()):
                number = -(-at // step)
                if number <= last and any(dict(labels)["__name__"] == preset.requests for labels in grown):
                    yield _sample(Sample(service, slot, (number - 1) * step, step), preset, grown)

    def _step(self) -> int | None:
        """Milliseconds between two scrapes of a target, as most of them are; None before there are two."""
        gaps = [after - before for one in self._by_target.values() for before, after in pairwise(sorted(one))]
        return max(mode(sorted(round(gap, -2) for gap in gaps)), 100) if gaps else None

    def _last_whole(self, step: int, end: int) -> int:
        """The last interval, counted from 1970, that is over and of which all scrapes are known.

        One that is given too early would lack the slower targets, whom nobody would miss later.
        """
        newest: dict[tuple[Target, Slot], int] = {}
        for target, scrapes in self._by_target.items():
            for at, scrape in scrapes.items():
                for slot in scrape.slots:
                    newest[target, slot] = max(at, newest.get((target, slot), at))
        last = end // step
        return last - 1 if last - 1 in {-(-at // step) for at in newest.values()} else last


def _numbers(series: Mapping[str, Any]) -> Iterator[tuple[int, float]]:
    """Milliseconds since 1970 and value of each sample."""
    for at, text in series["values"]:
        if isfinite(value := float(text)):
            yield round(at * 1000), value


def _target(series: Mapping[str, Any]) -> Target:
    return series["metric"].get("job", ""), series["metric"].get("instance", "")


def _growth(scrapes: Mapping[int, Scrape], begin: float) -> Iterator[tuple[int, Slot, dict[Labels, Counts]]]:
    """By how much each series of one target grew, at each look but the first.

    A process that is newer than the look before, or than *begin* (seconds since 1970) at the
    first one, counts from 0.
    """
    known: dict[tuple[Slot, Labels], Counts] = {}
    before: Scrape | None = None
    for at, scrape in sorted(scrapes.items(), key=itemgetter(0)):
        is_new = _is_new(scrape, before, begin)
        known = {} if is_new else known
        for slot, series in scrape.slots.items():
            if before or is_new:
                grown = {key: increments(known.get((slot, key), {}), now) for key, now in series.items()}
                yield at, slot, grown
            known |= {(slot, key): now for key, now in series.items()}
        before = scrape


def _is_new(scrape: Scrape, before: Scrape | None, begin: float) -> bool:
    if scrape.started is None:
        return False
    if before is None:
        return scrape.started > begin
    return before.started is not None and abs(scrape.started - before.started) > 1


def _sample(empty: Sample, preset: Preset, grown: Mapping[Labels, Counts]) -> Sample:
    """What one slot did on one target: *empty*, filled with the growth of its series."""
    requests = errors = 0
    latency: dict[str, int] = defaultdict(int)
    for key, counts in grown.items():
        labels = dict(key)
        if labels["__name__"] == preset.requests:
            requests += sum(counts.values())
            errors += sum(counts.values()) if _code(labels, preset).startswith("5") else 0
        else:
            for bound, count in counts.items():
                latency[f"{float(bound) * preset.unit:.15g}"] += count
    return replace(
        empty,
        requests=requests,
        errors=errors,
        drawn=None,
        mirrored=None,
        mirrored_errors=None,
        latency=latency if latency.get("inf") else {},
    )


def _code(labels: Mapping[str, str], preset: Preset) -> str:
    for name in preset.codes:
        if name in labels:
            return labels[name]
    shown = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    msg = f"{preset.requests}: a series with {shown}, expected the status in {' or '.join(preset.codes)}"
    raise PermanentError(msg)
