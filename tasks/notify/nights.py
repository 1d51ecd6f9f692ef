"""Nights that people are to be told of: each once, when it is over, or when its process is gone for good."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.domain.errors import PermanentError
from tasks.domain.model import Outcome
from tasks.nights.book import NightRecord, is_carried_on, nights, read_night
from tasks.nights.entry import Entry
from tasks.notify.base import Links
from tasks.notify.digest import digest
from tasks.notify.teller import Teller

RESUMED_WITHIN = timedelta(minutes=10)
"""How long a night whose process is gone may take to be started again."""
log = logging.getLogger("davy.notify")


class Nights:
    """Has the teller tell of nights."""

    def __init__(self, teller: Teller, links: Links) -> None:
        self._teller = teller
        self._links = links
        self._done: set[Path] = set()

    def look(self) -> None:
        """See to it that nights that are over are told; what was told already is not told again."""
        for path, record in self._over():
            self._done.add(path)
            at = record.ended or datetime.fromtimestamp(path.stat().st_mtime, UTC)
            self._teller.tell(digest(told_of(record), self._links, at=at), record.notify)

    def _over(self) -> Iterator[tuple[Path, NightRecord]]:
        for path in set(nights().glob("*.json")) - self._done:
            try:
                record = read_night(path)
            except PermanentError as error:
                log.warning("%s", error)
                self._done.add(path)
                continue
            if record.ended or is_given_up(path):
                yield path, record


def is_given_up(path: Path) -> bool:
    """Whether a night that has not ended is carried on by nobody, and has not been for some time."""
    silent = time.time() - path.stat().st_mtime
    return silent > RESUMED_WITHIN.total_seconds() and not is_carried_on(path)


def told_of(record: NightRecord) -> dict[str, Any]:
    """A night as `digest` reads it."""
    return {
        "date": record.date,
        "night": record.night,
        "unfinished": record.ended is None,
        "services": [_told_of(entry) for entry in record.entries],
    }


def _told_of(entry: Entry) -> dict[str, Any]:
    """An end that no journal knows, such as a run that could not be started, is a failure to look at."""
    goes_on = entry.runs or entry.outcome == "UnderWay"
    known = entry.outcome in list(Outcome)
    failed = entry.ended is not None and not known and not goes_on
    return {
        "service": entry.service,
        "version": entry.found or None,
        "decision": "still under way" if goes_on else "not started" if entry.waits else str(entry.decision),
        "reason": entry.message or entry.reason,
        "outcome": Outcome.FAILED if failed else entry.outcome if known else None,
        "seconds": entry.took.total_seconds() if entry.took is not None else None,
        "run": entry.run or None,
    }
