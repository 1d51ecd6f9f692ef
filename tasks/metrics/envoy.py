"""Metric source: what the embedded sampler has read from Envoy."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pandas as pd

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.model import Slot, Window
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.metrics.frame import to_frame
from tasks.metrics.store import read_samples

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EnvoySamples:
    """Reads one service's series from the sampler's history."""

    def __init__(self, service: ServiceFile) -> None:
        self._service = service.service

    def fetch(self, slots: Collection[Slot], window: Window) -> pd.DataFrame:
        """What *slots* did in *window*; see `tasks.metrics.base.MetricSource.fetch`.

        Only intervals that lie in the window as a whole count, so that what happened before
        a step is not held against it.

        Raises:
            TransientError: The sampler has not written anything yet, or the file is locked; retried.
            PermanentError: The file is not a history of samples; not retried.
        """
        start, end = (moment - _EPOCH for moment in (window.start, window.end))
        path = settings().samples
        millisecond = timedelta(milliseconds=1)
        try:
            samples = read_samples(path, self._service, slots, start // millisecond, end // millisecond)
        except sqlite3.OperationalError as error:
            msg = f"{path}: {error}, expected the sampler's history"
            raise TransientError(msg) from error
        except sqlite3.DatabaseError as error:
            msg = f"{path}: {error}, expected the sampler's history"
            raise PermanentError(msg) from error
        return to_frame(samples, slots)
