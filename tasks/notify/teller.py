"""The teller: tells people of every release that it is shown, beside the one who shows them.

What was told is a function of the journals and of small files beside them, so a teller that was
killed goes on where it was. There must be one teller for a state folder: the watcher's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from tasks.domain.gates import Gates
from tasks.domain.notices import Email, Event, Slack, Webhook
from tasks.domain.settings import settings
from tasks.journal import Journal
from tasks.notify import open_channel
from tasks.notify.base import Links, Message, SecretReader
from tasks.notify.delivery import Delivery
from tasks.notify.feeds import Feed, JournalFeed, OneMessage

WORKERS = 4
"""How many channels can be slow before the others wait."""
LIMIT = 10_000
"""How many releases and channels are told at a time; more are taken once some have ended."""
POLL = 0.2
"""Seconds between two looks at the journals."""
log = logging.getLogger("davy.notify")


class Teller:
    """Tells what it is shown, in threads of its own, which start with the first thing to tell."""

    def __init__(self, links: Links, read_secret: SecretReader) -> None:
        self._links = links
        self._read_secret = read_secret
        self._open: dict[Path, Delivery] = {}
        self._known: set[Path] = set()
        self._busy: set[Path] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._was_full = False

    def look(self, journal: Journal, notices: Sequence[Slack | Email | Webhook]) -> None:
        """See to it that people are told what *journal* says and will say. Returns at once, does no I/O.

        To be called at least once for each release, again after a restart, as often as one likes.
        """
        folder = settings().root / "told" / journal.path.parent.name
        for number, notice in enumerate(notices):
            path = folder / f"{journal.release}.{number}-{notice.kind}.json"
            if path not in self._known:
                self._add(path, notice, JournalFeed(journal, frozenset(notice.on), self._links))

    def ask(self, journal: Journal, notices: Sequence[Slack | Email | Webhook], gates: Gates | None) -> None:
        """See to it that each approver with an address gets a link of their own at each gate, by e-mail alone.

        A link decides in its owner's name, so it goes into no channel that others read. As `look`, does no I/O.
        """
        by_mail = next((notice for notice in notices if isinstance(notice, Email)), None)
        if by_mail is None or gates is None or self._links.approver_url is None:
            return
        folder = settings().root / "told" / journal.path.parent.name
        for number, approver in enumerate(gates.approvers):
            path = folder / f"{journal.release}.approver-{number}.json"
            if "@" in approver and path not in self._known:
                links = replace(self._links, approve_url=partial(self._links.approver_url, approver))
                notice = by_mail.model_copy(update={"to": (approver,), "on": (Event.GATE,)})
                self._add(path, notice, JournalFeed(journal, frozenset(notice.on), links))

    def tell(self, message: Message, notices: Sequence[Slack | Email | Webhook]) -> None:
        """Tell *message* once, such as a digest. Returns at once; see `settle`."""
        for number, notice in enumerate(notices):
            path = settings().root / "told" / "once" / f"{message.id}.{number}-{notice.kind}.json"
            if path not in self._known:
                self._add(path, notice, OneMessage(message))

    def settle(self, within: timedelta) -> int:
        """Wait until all is told that there is to tell now.

        Returns:
            Through how many channels something is untold after *within*.
        """
        deadline = time.monotonic() + within.total_seconds()
        while (untold := self._untold()) and time.monotonic() < deadline:
            time.sleep(POLL / 4)
        return untold

    def close(self, within: timedelta = timedelta(seconds=15)) -> None:
        """End the threads once their calls have ended, or let go of them; the next teller goes on."""
        self._stop.set()
        deadline = time.monotonic() + within.total_seconds()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _untold(self) -> int:
        with self._lock:
            return sum(1 for path, one in self._open.items() if path in self._busy or not one.is_settled)

    def _add(self, path: Path, notice: Slack | Email | Webhook, feed: Feed) -> None:
        with self._lock:
            full = len(self._open) >= LIMIT
            if full and not self._was_full:
                log.warning("found %d releases and channels to tell, expected fewer: the rest waits", LIMIT)
            self._was_full = full
            if full or path in self._known:
                return
            self._known.add(path)
            opened = partial(open_channel, notice, self._read_secret)
            self._open[path] = Delivery(feed, opened, path, name=_name(notice))
            self._start()

    def _start(self) -> None:
        if self._threads:
            return
        for number in range(WORKERS):
            thread = threading.Thread(target=self._work, name=f"teller-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            path = self._take()
            if path is None:
                self._stop.wait(POLL)
                continue
            delivery = self._open[path]
            try:
                delivery.run()
            finally:
                self._put_back(path)

    def _take(self) -> Path | None:
        """A delivery that is due and that nobody runs, which waited longest."""
        with self._lock:
            path = next(
                (path for path, one in self._open.items() if path not in self._busy and one.is_due()), None
            )
            if path:
                self._busy.add(path)
            return path

    def _put_back(self, path: Path) -> None:
        with self._lock:
            self._busy.discard(path)
            delivery = self._open.pop(path)
            if not delivery.is_over:
                self._open[path] = delivery


def _name(notice: Slack | Email | Webhook) -> str:
    match notice:
        case Slack():
            return f"slack {notice.channel}"
        case Email():
            return f"email to {len(notice.to)}"
        case Webhook():
            return "webhook"
