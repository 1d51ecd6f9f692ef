"""Where messages come from: a release's journal, or a report that is told once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tasks.domain.notices import Event
from tasks.journal import Journal
from tasks.notify.base import Links, Message
from tasks.record import Record


@dataclass(frozen=True)
class News:
    """What is to be told now.

    Attributes:
        messages: Oldest first.
        ended: When the last of them was due at the latest; None while more will come.
    """

    messages: Iterable[Message]
    ended: datetime | None


class Feed(Protocol):
    """Something that has messages."""

    @property
    def name(self) -> str:
        """What it is, for logs."""
        ...

    def size(self) -> int:
        """Grows whenever it has more to tell."""
        ...

    def news(self, told: Collection[str]) -> News:
        """What is to be told but for the ids in *told*.

        Raises:
            JournalError: The journal's chain is broken; not retried.
        """
        ...


class JournalFeed:
    """What a release's journal has to tell of the events *on*."""

    def __init__(self, journal: Journal, on: Collection[Event], links: Links) -> None:
        self._journal = journal
        self._on = on
        self._links = links

    @property
    def name(self) -> str:
        """See `Feed.name`."""
        return self._journal.release

    def size(self) -> int:
        """See `Feed.size`."""
        try:
            return self._journal.path.stat().st_size
        except FileNotFoundError:
            return 0

    def news(self, told: Collection[str]) -> News:
        """See `Feed.news`."""
        from tasks.notify.messages import messages_of  # noqa: PLC0415 - only where something is told

        record = Record.read(self._journal)
        if not record.lines:
            return News((), None)
        ended = record.ended.at if record.ended and not record.frozen else None
        return News(messages_of(record, self._on, self._links, told), ended)


@dataclass(frozen=True)
class OneMessage:
    """A message that is told once."""

    message: Message

    @property
    def name(self) -> str:
        """See `Feed.name`."""
        return self.message.thread

    def size(self) -> int:
        """See `Feed.size`."""
        return 1

    def news(self, told: Collection[str]) -> News:
        """See `Feed.news`."""
        return News(() if self.message.id in told else (self.message,), self.message.at)
