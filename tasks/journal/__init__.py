"""The record of a release, and the lease of a service."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.domain.settings import settings
from tasks.journal.journal import Journal, Line
from tasks.journal.lease import FileLease, LeaseState, read_lease, take

__all__ = [
    "FileLease",
    "Journal",
    "LeaseState",
    "Line",
    "all_journals",
    "journal_of",
    "journals_of",
    "read_lease",
    "take",
]


def journal_of(service: str, release: str) -> Journal:
    """The journal of one release, whether it exists yet or not."""
    return Journal(settings().journals / service / f"{release}.jsonl")


def journals_of(service: str) -> Iterator[Journal]:
    """Every journal of a service, newest first."""
    paths = (settings().journals / service).glob("*.jsonl")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        yield Journal(path)


def all_journals() -> Iterator[Journal]:
    """Every journal there is."""
    for path in settings().journals.glob("*/*.jsonl"):
        yield Journal(path)
