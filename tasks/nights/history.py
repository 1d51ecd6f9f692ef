"""What the journals and the records of earlier nights say of a service."""

from __future__ import annotations

from tasks.domain.model import Outcome
from tasks.journal import journals_of
from tasks.nights.book import digest_released_by
from tasks.nights.choice import TakenBack
from tasks.record import Record

WORDS = {
    Outcome.TRIED: "tried",
    Outcome.ROLLED_BACK: "rolled back",
    Outcome.FAILED: "failed",
    Outcome.FROZEN: "failed and taken back",
    Outcome.REJECTED: "rejected",
    Outcome.ABORTED: "aborted",
}
"""Ends after which a version is not released again by itself."""
ROLLBACK = "rollback"
"""The kind of a release that goes back from a version that had been promoted."""


def taken_back(service: str, version: str) -> TakenBack | None:
    """What became of *version* the last time it was released, where that was not good.

    Raises:
        JournalError: A journal's chain is broken; not retried.
    """
    before = None
    for record in _records(service):
        opening, outcome = record.opening, record.outcome
        if opening.version == version:
            before = _taken_back(record, WORDS[outcome]) if outcome in WORDS else None
        elif opening.kind == ROLLBACK and outcome is Outcome.PROMOTED:
            left = opening.stable and opening.stable.version == version
            before = _taken_back(record, "rolled back from") if left else before
    return before


def busy(service: str) -> str:
    """The release that is under way or left frozen, in words; empty for none.

    Raises:
        JournalError: A journal's chain is broken; not retried.
    """
    for record in _records(service):
        if record.ended is None:
            return f"a release is under way: {record.release} of {record.opening.version}"
        if record.frozen:
            return f"a release was left frozen: {record.release} of {record.opening.version}"
    return ""


def _records(service: str) -> list[Record]:
    """Every release of *service*, oldest first."""
    records = (Record.read(journal) for journal in journals_of(service) if journal.exists())
    return sorted(records, key=lambda record: record.opened_at)


def _taken_back(record: Record, how: str) -> TakenBack:
    at = record.ended.at if record.ended else record.opened_at
    return TakenBack(record.release, how, at, digest_released_by(record.release))
