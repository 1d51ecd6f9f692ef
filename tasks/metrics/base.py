"""Metric source: series of a service's revisions, the same shape from everywhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import pandas as pd

from tasks.domain.model import Slot, Window

REQUESTS = "requests"
"""Requests that users sent and the slot answered (drawn, matched or pinned): count."""
ERRORS = "errors"
"""Those of them answered with 5xx, also by the proxy on the slot's behalf: count."""
DRAWN = "drawn"
"""Those of them that a draw by weight sent there: count."""
MIRRORED = "mirrored"
"""Copies of users' requests that the slot answered: count. Not among the requests."""
MIRRORED_ERRORS = "mirrored_errors"
"""Copies answered with 5xx: count."""
LATENCY = "le:"
"""Prefix of the latency buckets, ``le:25`` or ``le:inf``: cumulative count of requests (mirrored
ones included) that took at most so many milliseconds."""


class MetricSource(Protocol):
    """Series by revision and window."""

    def fetch(self, slots: Collection[Slot], window: Window) -> pd.DataFrame:
        """What *slots* did in the sampling intervals that lie wholly in *window*.

        Returns:
            Index ``at``: aware UTC, increasing, the end of each sampling interval. Columns: a
            MultiIndex ``(slot, measure)`` of the measures above. Values: float64 increments
            within the interval; NaN where the source has no sample, or can't tell the measure
            apart. A slot that had no requests has zeros if it was sampled. No sample at all:
            no rows, all columns but the latency buckets.

        Raises:
            TransientError: The source does not answer; retried.
            PermanentError: The source refuses the query; not retried.
        """
        ...
