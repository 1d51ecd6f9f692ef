"""Nightly: release what is new, in waves, a few at a time, and leave one report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.outlive import outlive_runner
from flows.waves import look_at_all, release_wave
from tasks.domain.errors import InputError
from tasks.domain.nightly import Night, NightlyService
from tasks.domain.schedule import Schedule
from tasks.nightly import show_night
from tasks.nights.book import NightRecord, open_book
from tasks.nights.choice import failures
from tasks.nights.entry import Decision
from tasks.nights.report import headline

USUAL = Night()


@flow(name="nightly")
def nightly(
    services: list[NightlyService], night: Night = USUAL, schedule: Schedule | None = None
) -> State[None]:
    """Find each service's newest version, leave out what is not to be released, release the rest.

    A night that is started again goes on where it was left: nothing is released twice.

    Args:
        services: The services with their sources of versions, as their files have them.
        schedule: Only the services of this schedule; all where it is left out.
    """
    outlive_runner()
    refuse_twice(services)
    tonight = {one.name: one for one in services if schedule in (None, one.schedule)}
    due = due_at(night, schedule)
    with open_book(name_of(due, schedule), due.date()) as book:
        book.change(notify=night.notify)
        if not book.record.entries:
            look_at_all(book, tonight, night)
        for wave in book.record.waves:
            release_wave(book, tonight, night, wave)
        if book.record.ended is None:
            book.change(ended=datetime.now(UTC))
            show_night(book.record)
        return state_of(book.record)


def refuse_twice(services: Sequence[NightlyService]) -> None:
    """Make sure that each service is there once.

    Raises:
        InputError: One is there twice; not retried.
    """
    names = [one.name for one in services]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError("services", twice, "each service once")


def due_at(night: Night, schedule: Schedule | None) -> datetime:
    """The time that the run was started for, by the clock of its schedule or else of the night."""
    started: datetime = flow_run.scheduled_start_time
    return started.astimezone(schedule.zone if schedule else night.zone)


def name_of(due: datetime, schedule: Schedule | None) -> str:
    """A name that the same night always has: a time of day that comes twice is one night."""
    which = f"-{hashlib.sha256(str(schedule).encode()).hexdigest()[:6]}" if schedule else ""
    return f"{due:%Y-%m-%d-%H%M}{which}"


def state_of(record: NightRecord) -> State[None]:
    """Completed where every service was decided and every release ended well."""
    message = headline(record)
    if record.stopped:
        return Failed(name="Stopped", message=message)
    if failures(record.entries) or record.count(Decision.UNKNOWN):
        return Failed(message=message)
    return Completed(message=message)
