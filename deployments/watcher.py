"""The watcher: the one part that is always on. It runs the guards of all releases.

It takes back a release whose guard fails, that a person wants taken back, or that nobody
carries on, and retires what releases left to be retired later. It knows nothing of Prefect.
Run it with ``python -m deployments.watcher``; the supervisor keeps it up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from deployments.prefect_api import run_url
from deployments.secret_blocks import read_block
from tasks import guard
from tasks.domain.errors import ConflictError, DavyError, PermanentError
from tasks.domain.model import Outcome, Result, Revision
from tasks.domain.settings import settings
from tasks.guard import Guard
from tasks.journal import Journal, all_journals, read_lease
from tasks.links import link_for
from tasks.notify.base import Links
from tasks.notify.nights import Nights
from tasks.notify.secret_places import secret_reader
from tasks.notify.teller import Teller
from tasks.record import Record
from tasks.release import Carrier
from tasks.restore import nothing_left, take_back, write_off

ROUND = 0.2
"""Seconds between two rounds over the open releases."""
NIGHTS = 5.0
"""Seconds between two looks at nights."""
AFTER_TROUBLE = 1.0
"""Seconds before a release is looked at again after a look that failed."""
WORKERS = 16
"""How many releases can be looked at in the same moment."""
log = logging.getLogger("davy.watcher")


class Watcher:
    """Looks at every release that is not closed, each in a thread of its own for as long as it takes."""

    def __init__(self) -> None:
        self._open: dict[Path, Watched] = {}
        self._closed: set[Path] = set()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="watch")
        links = Links(run_url, approver_url=link_for)
        self._teller = Teller(links, secret_reader(read_block))
        self._nights = Nights(self._teller, links)
        self._next_nights = 0.0

    def run(self) -> None:
        """Watch until the process is ended."""
        while True:
            settings().watcher_pulse.touch()
            self.look_round()
            self.look_at_nights()
            time.sleep(ROUND)

    def look_round(self) -> None:
        """Start a look at each open release that is not being looked at."""
        for journal in all_journals():
            if journal.path not in self._closed and journal.path not in self._open:
                self._open[journal.path] = Watched(journal, self._teller)
        for path, watched in list(self._open.items()):
            if watched.closed:
                self._closed.add(path)
                del self._open[path]
            elif watched.is_ready:
                watched.look = self._pool.submit(watched.look_once)

    def look_at_nights(self) -> None:
        """Have people told of nights that are over; nothing that goes wrong there holds up a guard."""
        if time.monotonic() < self._next_nights:
            return
        self._next_nights = time.monotonic() + NIGHTS
        try:
            self._nights.look()
        except Exception:
            log.exception("nights could not be looked at")


class Watched:
    """One open release."""

    def __init__(self, journal: Journal, teller: Teller | None = None) -> None:
        self.journal = journal
        self._teller = teller
        self.look: Future[None] | None = None
        self.closed = False
        self._guards = Guard()
        self._next_check = 0.0
        self._not_before = 0.0

    @property
    def is_ready(self) -> bool:
        """No look is under way, and the last trouble is some time ago."""
        return (self.look is None or self.look.done()) and time.monotonic() >= self._not_before

    def look_once(self) -> None:
        """One look; what goes wrong in it is said, and the next look tries again."""
        try:
            if not self.journal.exists():
                return
            record = Record.read(self.journal)
            self._tell(record)
            if record.ended:
                self._retire(record)
            elif record.abort_asked and not record.reverting:
                self._take_back(*record.abort, "watcher")
            elif record.reverting:
                self._go_on_back(record)
            elif abandoned(record):
                self._take_back("nobody carries it on", Outcome.ROLLED_BACK, "watcher")
            elif record.exposed and time.monotonic() >= self._next_check:
                self._next_check = time.monotonic() + record.service.analysis.interval.total_seconds()
                self._guard(record)
        except ConflictError as busy:
            log.info("%s", busy)
        except DavyError as trouble:
            log.warning("%s: %s", self.journal.release, trouble)
            self._not_before = time.monotonic() + AFTER_TROUBLE
            self._note(str(trouble))
        except Exception:
            log.exception("%s: could not be looked at", self.journal.release)
            self._not_before = time.monotonic() + AFTER_TROUBLE

    def _tell(self, record: Record) -> None:
        """Have people told, by threads that no guard waits for."""
        if self._teller:
            self._teller.look(self.journal, record.service.notify)
            self._teller.ask(self.journal, record.service.notify, record.service.gates)

    def _note(self, trouble: str) -> None:
        """Keep what holds up a way back for whoever asks, once."""
        with suppress(DavyError):
            record = Record.read(self.journal)
            said = record.last("trouble")
            if record.reverting and not record.ended and (said is None or said.data["what"] != trouble):
                self.journal.append("trouble", what=trouble)

    def _guard(self, record: Record) -> None:
        verdict = self._guards.check(record)
        if verdict.result is Result.PASS and record.may_pass_early and self._guards.is_same:
            self.journal.append("same", reason=verdict.reason, evidence=verdict.evidence)
        if verdict.result is not Result.FAIL:
            return
        too_many = guard.overdrawn(record, verdict)
        failed = guard.failed_metrics(verdict)
        self.journal.append("check", failed=failed, reason=verdict.reason, evidence=verdict.evidence)
        if too_many:
            self._take_back(verdict.reason, Outcome.ROLLED_BACK, "guard")

    def _go_on_back(self, record: Record) -> None:
        """Go on with a way back whose carrier is gone."""
        held = read_lease(record.service.service)
        if not (held and held.alive):
            self._take_back("", Outcome.ROLLED_BACK, "watcher")

    def _take_back(self, reason: str, outcome: Outcome, by: str) -> None:
        log.info("%s: taking it back: %s", self.journal.release, reason)
        take_back(self.journal, reason=reason, outcome=outcome, by=by)

    def _retire(self, record: Record) -> None:
        """Retire what is due, give back what is the user's; close when nothing is left."""
        due = [revision for revision, when in record.due if when <= datetime.now(UTC)]
        owes = not (record.given_back or record.frozen) and len(due) == len(record.due)
        held = read_lease(record.service.service)
        if (due or owes) and not (held and held.alive):
            carrier = Carrier.resume(self.journal, by="watcher")
            try:
                _clear_away(carrier, due)
            finally:
                carrier.let_go()
            self._not_before = time.monotonic() + AFTER_TROUBLE
        self.closed = Record.read(self.journal).closed


def _clear_away(carrier: Carrier, due: Collection[Revision]) -> None:
    """Retire what is *due* and give back what is the user's; none of it is, once all that it ran on is gone."""
    try:
        for revision in due:
            carrier.remove(revision)
            carrier.write("retired", slot=revision.slot, version=revision.version)
        carrier.give_back()
    except PermanentError:
        if (gone := nothing_left(carrier)) is None:
            raise
        write_off(carrier, gone)


def abandoned(record: Record) -> bool:
    """Whether nobody has carried the release for longer than the service file lets it wait."""
    held = read_lease(record.service.service)
    if held is None:
        return True
    if held.alive:
        return False
    ttl = settings().lease_ttl
    patience = record.service.resume_within if record.service.on_crash == "resume" else ttl
    return held.age > patience.total_seconds()


def main() -> None:
    """Run the watcher."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings().root.mkdir(parents=True, exist_ok=True)
    with suppress(KeyboardInterrupt):
        Watcher().run()


if __name__ == "__main__":
    main()
