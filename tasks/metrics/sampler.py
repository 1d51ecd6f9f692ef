"""The embedded sampler: reads Envoy's counters twice a second and keeps the increments.

Run as ``python -m tasks.metrics.sampler``; the supervisor keeps one alive. While Envoy is
away nothing is written: missing is missing. What Envoy counted while the sampler was away
comes as one sample with a longer interval.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from typing import NoReturn
from urllib.parse import urlencode

from tasks.domain.errors import TransientError
from tasks.domain.settings import settings
from tasks.metrics.counters import FILTER, METRICS, Look, Series, compare, read_look
from tasks.metrics.store import forget, keep, last_look, open_store

log = logging.getLogger("sampler")

# ``/stats?format=json`` would be a third cheaper, but leaves out the bucket without an upper bound.
PATH = f"/stats/prometheus?usedonly&{urlencode({'filter': FILTER})}"
PERIOD = 0.5
"""Seconds between two samples: what a guard sees is at most so old."""
ANSWER_WITHIN = 0.4
"""Seconds that Envoy has to answer, so that a slow one costs no more than its own sample."""

_LINE = re.compile(rf"^({'|'.join(METRICS)})\{{(.*)\}} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def main() -> NoReturn:
    """Sample at whole multiples of the period, for ever."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    trouble = ""
    with closing(open_store(settings().samples)) as store:
        log.info("writing to %s", settings().samples)
        while True:
            time.sleep(PERIOD - time.time() % PERIOD)
            try:
                take_sample(store)
            except (TransientError, sqlite3.OperationalError) as error:
                found = str(error)
            else:
                found = ""
            if found != trouble:
                log.warning("%s", found or "sampling again")
                trouble = found


def take_sample(store: sqlite3.Connection) -> None:
    """Look at Envoy and keep what happened since the last look.

    The totals are read, compared and replaced in one transaction: a second sampler that
    is started by mistake counts nothing twice.

    Raises:
        TransientError: Envoy does not answer; nothing was written; retried with the next sample.
        sqlite3.OperationalError: The disk is full, say; nothing was written; retried likewise.
    """
    store.execute("BEGIN IMMEDIATE")
    try:
        before, look = last_look(store), look_at_envoy()
        keep(store, before, look, compare(before, look) if before else ())
        forget(store, look.at - settings().history // timedelta(milliseconds=1))
        store.execute("COMMIT")
    finally:
        if store.in_transaction:
            store.execute("ROLLBACK")


def look_at_envoy() -> Look:
    """Envoy's totals now.

    Raises:
        TransientError: It does not answer, or not with 200; retried.
    """
    # Taken before asking: an interval then never claims to begin later than it did.
    at = time.time_ns() // 1_000_000
    port = settings().envoy_port
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN)) as admin:
            admin.request("GET", PATH)
            answer = admin.getresponse()
            status, text = answer.status, answer.read().decode()
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        msg = f"envoy on port {port}: {type(error).__name__} {error}, expected its counters"
        raise TransientError(msg) from error
    if status != 200:  # noqa: PLR2004 - HTTP
        msg = f"envoy on port {port}: status {status}, expected 200"
        raise TransientError(msg)
    return read_look(at, _parse(text))


def _parse(text: str) -> Iterator[Series]:
    for metric, labels, value in _LINE.findall(text):
        yield Series(metric, dict(_LABEL.findall(labels)), float(value))


if __name__ == "__main__":
    main()
