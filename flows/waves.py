"""What a night of releases does: look at all services, then release them wave after wave."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.domain.errors import DavyError
from tasks.domain.nightly import Night, NightlyService
from tasks.domain.units import format_duration
from tasks.nightly import ask_for_release, how_it_went, look
from tasks.nights.book import Book
from tasks.nights.choice import failures, in_waves, startable, stopped
from tasks.nights.entry import Decision, Entry
from tasks.nights.history import busy

POLL = 1.0
"""Seconds between two looks at the releases that run."""

Services = Mapping[str, NightlyService]


def look_at_all(book: Book, services: Services, night: Night) -> None:
    """Decide what is released, and in which waves; recorded as a whole, so that a night keeps to it."""
    futures = {name: look.submit(service, book.record.date) for name, service in services.items()}
    entries = [_decided(name, future.result(raise_on_failure=False)) for name, future in futures.items()]
    chosen = [entry.service for entry in entries if entry.decision is Decision.RELEASE]
    waves = tuple(tuple(wave) for wave in in_waves(chosen, night))
    book.change(entries=tuple(entries), waves=waves)


def _decided(name: str, looked: object) -> Entry:
    """What was decided; a service that could not be looked at is not released."""
    if isinstance(looked, Entry):
        return looked
    trouble = str(looked) if isinstance(looked, DavyError) else repr(looked)
    return Entry(service=name, decision=Decision.UNKNOWN, reason=trouble)


def release_wave(book: Book, services: Services, night: Night, wave: Sequence[str]) -> None:
    """Release a wave within the cap; return when everything of it that was started has ended."""
    while True:
        for entry in book.record.wave(wave):
            if entry.runs:
                follow(book, services, night, entry)
        if stopped(book.record.entries, night):
            leave_out_the_rest(book, wave)
        for entry in startable(book.record.wave(wave), book.record.entries, night):
            begin(book, services, night, entry)
        if not any(entry.waits or entry.runs for entry in book.record.wave(wave)):
            return
        time.sleep(POLL)


def begin(book: Book, services: Services, night: Night, entry: Entry) -> None:
    """Start a release, unless something has come between; the intent is recorded first."""
    now = datetime.now(UTC)
    if reason := obstacle(services, night, entry.service, now):
        book.put(entry.left_out(reason))
        return
    begun = entry.model_copy(update={"began": now})
    book.put(begun)
    ask(book, services, begun)


def obstacle(services: Services, night: Night, service: str, now: datetime) -> str:
    """Why *service* must not be released at this moment; empty when it may."""
    if service not in services:
        return "it is none of the nightly services any more"
    try:
        return night.frozen(service, now) or busy(service)
    except DavyError as error:
        return str(error)


def ask(book: Book, services: Services, entry: Entry) -> None:
    """Have the release's flow run started, once only; one that can't be started has failed."""
    try:
        asked = ask_for_release(entry, services[entry.service])
    except (DavyError, LookupError) as error:
        asked = entry.over(datetime.now(UTC), "NotStarted", str(error))
    book.put(asked)


def follow(book: Book, services: Services, night: Night, entry: Entry) -> None:
    """Record how a release went, once it has ended or has taken too long."""
    if not entry.run:
        ask(book, services, entry)
        return
    ended = how_it_went(entry)
    now = datetime.now(UTC)
    if ended is None and entry.began and now - entry.began > night.release_within:
        within = format_duration(night.release_within)
        ended = entry.over(now, "UnderWay", f"has not ended within {within}; the night leaves it to itself")
    if ended:
        book.put(ended)


def leave_out_the_rest(book: Book, wave: Sequence[str]) -> None:
    """Say of what waits why it is not started."""
    reason = f"not started: {failures(book.record.entries)} releases of this night had failed"
    for entry in book.record.wave(wave):
        if entry.waits:
            book.put(entry.left_out(reason))
            book.change(stopped=True)
