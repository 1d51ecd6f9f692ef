"""One release told through one channel: in order, each message once as well as that can be done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.domain.errors import DavyError, PermanentError
from tasks.notify.base import Channel, HeldBackError, Message
from tasks.notify.feeds import Feed
from tasks.notify.told import Told, read_told, write_told

GIVE_UP = timedelta(hours=1)
"""How long after a release's end what it has left untold is still tried."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=1)
"""Between two tries of a message; each is twice the one before."""
log = logging.getLogger("davy.notify")


class Delivery:
    """Tells what *feed* has, through a channel; what was told stands in the file at *path*.

    Not to be run by two threads at a time.

    Args:
        opened: Gives the channel, once there is something to tell.
    """

    def __init__(self, feed: Feed, opened: Callable[[], Channel], path: Path, *, name: str) -> None:
        self._feed = feed
        self._open = opened
        self._channel: Channel | None = None
        self._path = path
        self._name = f"{feed.name}: {name}"
        self._told: Told | None = None
        self._seen = -1
        self._tries = 0
        self._trouble = ""
        self._not_before = 0.0
        self.is_over = False

    @property
    def is_settled(self) -> bool:
        """There is nothing to tell now."""
        return self.is_over or self._seen == self._feed.size()

    def is_due(self) -> bool:
        """Whether there may be something to tell now."""
        return time.monotonic() >= self._not_before and not self.is_settled

    def run(self) -> None:
        """Tell what there is to tell; what goes wrong is logged, and the next run tries again."""
        size = self._feed.size()
        try:
            told = self._told = self._told or read_told(self._path)
            if told.is_over:
                self.is_over = True
                return
            self._tell(told)
            self._seen = size
        except HeldBackError as error:
            self._try_later(str(error), error.pause)
        except DavyError as error:
            self._try_later(str(error), self._pause)
        except Exception as error:  # noqa: BLE001 - whatever it was, the release goes on and the others are told
            self._try_later(f"gave {type(error).__name__}", self._pause)

    def _tell(self, told: Told) -> None:
        news = self._feed.news(told.ids)
        if news.ended and datetime.now(UTC) - news.ended > GIVE_UP:
            self._end(told, sum(1 for _ in news.messages))
            return
        for message in news.messages:
            told = self._send(message, told)
        if news.ended:
            self._end(told, 0)

    def _send(self, message: Message, told: Told) -> Told:
        """Tell *message*; that it was begun is written before, that it was told after."""
        again = told.sending == message.id
        self._keep(replace(told, sending=message.id))
        try:
            channel = self._channel = self._channel or self._open()
            thread = channel.send(message, told.thread, again=again)
        except PermanentError as error:
            log.warning("%s: a message (%s) is left out: %s", self._name, message.event, error)
            thread = told.thread
        if self._trouble:
            log.info("%s: told after all", self._name)
        self._tries, self._trouble = 0, ""
        told = told.done(message.id, thread)
        self._keep(told)
        return told

    def _keep(self, told: Told) -> None:
        """Remember what was told; a full disk keeps nobody from being told."""
        self._told = told
        try:
            write_told(self._path, told)
        except OSError as error:
            log.warning("%s: what was told can't be kept: %s", self._name, error.strerror)

    def _end(self, told: Told, untold: int) -> None:
        if untold:
            log.warning("%s: %d message(s) could not be told and are dropped", self._name, untold)
        self._keep(replace(told, is_over=True))
        self.is_over = True

    @property
    def _pause(self) -> timedelta:
        return min(FIRST_PAUSE * (1 << min(self._tries, 10)), LONGEST_PAUSE)

    def _try_later(self, trouble: str, pause: timedelta) -> None:
        self._seen = -1
        self._not_before = time.monotonic() + pause.total_seconds()
        self._tries += 1
        if trouble != self._trouble:
            log.warning("%s: not told yet: %s", self._name, trouble)
        self._trouble = trouble
