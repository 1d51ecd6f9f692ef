"""Whether the proxies serve a new split, as the requests that are counted show it. Needs no Prefect.

Where no proxy can be asked, the requests themselves are evidence: each makes the new split or the one
before more likely. A cumulative sum of their log-likelihood ratio (Page, Biometrika 41, 1954) finds the
moment from which on they follow the new one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf, log
from typing import TYPE_CHECKING

from tasks.domain.errors import DavyError, TransientError
from tasks.domain.model import Slot, Split, Traffic, Window
from tasks.domain.spec import ServiceFile
from tasks.domain.units import WHOLE
from tasks.metrics import open_metrics

if TYPE_CHECKING:  # pandas doubles a runner's memory, so only those import it who look at series
    import pandas as pd

PROOF = log(1000)
"""The new split must be a thousand times as likely as the one before."""
POLL = 0.25
"""Seconds between two looks at the series."""


def await_served(
    service: ServiceFile, traffic: Traffic, served: Split, before: Split | None, within: timedelta
) -> None:
    """Return once requests follow *served*, or *within* is over and none contradicts it.

    Args:
        served: The split that was set just now.
        before: The one until then; None for the first.

    Raises:
        TransientError: Requests still go where they went before; retried.
    """
    if before in (None, served) or traffic.matches or traffic.affinity:
        return  # those who are sent or kept somewhere follow no split
    since, deadline = datetime.now(UTC), time.monotonic() + within.total_seconds()
    counts: list[Mapping[Slot, float]] = []
    # A baseline is the old version, too: one that goes next may still have some of stable's requests.
    slots = [slot for slot in Slot if slot is not Slot.BASELINE or served[slot]]
    while time.monotonic() < deadline:
        counts = list(_counted(service, slots, Window(since, datetime.now(UTC)))) or counts
        if evidence_for(served, before, counts) >= PROOF:
            return
        time.sleep(POLL)
    if counts and contradicts(served, counts[-1]):
        found = ", ".join(f"{slot} {count:.0f}" for slot, count in counts[-1].items() if count)
        msg = f"{service.service}: requests went to {found} in the last interval, expected {served}"
        raise TransientError(msg)


def evidence_for(served: Split, before: Split, counts: Iterable[Mapping[Slot, float]]) -> float:
    """How much more likely *served* is than *before*, as a logarithm, from the moment it is best supported.

    Args:
        counts: Requests by slot, one mapping for each interval, oldest first.
    """
    total = 0.0
    for interval in counts:
        total = max(
            0.0, total + sum(_ratio(served[slot], before[slot], n) for slot, n in interval.items() if n)
        )
    return total


def contradicts(served: Split, interval: Mapping[Slot, float]) -> bool:
    """Whether a slot without a share got requests."""
    return any(count and not served[slot] for slot, count in interval.items())


def _ratio(served: int, before: int, count: float) -> float:
    if not served:
        return -inf
    return inf if not before else count * log((served / WHOLE) / (before / WHOLE))


def _counted(service: ServiceFile, slots: Collection[Slot], window: Window) -> Iterable[Mapping[Slot, float]]:
    """Requests by slot in each interval of *window* that has any; none where the source does not tell.

    Whatever trouble a source has, it is no reason to hold up a way back.
    """
    from tasks.metrics.base import REQUESTS  # noqa: PLC0415 - as above

    try:
        frame: pd.DataFrame = open_metrics(service).fetch(slots, window)
    except DavyError:
        return
    requests = frame.xs(REQUESTS, axis="columns", level="measure").fillna(0.0)
    for _, row in requests.iterrows():
        counted = {Slot(str(slot)): float(count) for slot, count in row.items()}
        if any(counted.values()):
            yield counted
