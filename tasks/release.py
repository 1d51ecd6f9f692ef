"""A release under way: what the verbs are given, and what its carrier may do.

`Release` is a plain value that Prefect may record as a parameter. `Carrier` is the process's
right to change the world for it: the journal, the lease, and the service's fleet and router.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import ClassVar

from tasks.domain.errors import DavyError, LeaseLostError, PermanentError
from tasks.domain.kubernetes import ServiceRouter
from tasks.domain.model import Outcome, Replica, Revision, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.fleets import open_fleet
from tasks.fleets.base import Fleet
from tasks.journal import FileLease, Journal, take
from tasks.record import Record, traffic_to_json
from tasks.routers import open_router
from tasks.routers.base import Router
from tasks.served import await_served


@dataclass(frozen=True)
class Release:
    """One run of a strategy for a service and a version.

    Attributes:
        stable: The revision that users were on; None for a service's first version.
        replicas: How many copies of stable ran when the release was opened.
    """

    id: str
    service: ServiceFile
    version: str
    stable: Revision | None
    replicas: int

    @classmethod
    def of(cls, record: Record) -> Release:
        """The release that a journal tells of."""
        opening = record.opening
        return cls(record.release, opening.service, opening.version, opening.stable, opening.replicas)

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.service

    @property
    def old(self) -> Revision:
        """Stable, where there must be one."""
        if self.stable is None:
            msg = f"{self.name}: found no stable version, expected one"
            raise PermanentError(msg)
        return self.stable

    @property
    def successor(self) -> Revision:
        """The new version in the colour that stable does not have."""
        slot = self.stable.slot.other_colour if self.stable else Slot.BLUE
        return Revision(self.name, slot, self.version)

    @property
    def candidate(self) -> Revision:
        """The new version, small, in a slot of its own."""
        return Revision(self.name, Slot.CANDIDATE, self.version)

    @property
    def baseline(self) -> Revision:
        """The old version, as small and as young as the candidate."""
        return Revision(self.name, Slot.BASELINE, self.old.version)

    def between(self, split: Split, new: Slot) -> Traffic:
        """*split*, with what the service file asks for while *new* is on trial: matches, affinity."""
        matches = tuple(rule.to_match() for rule in self.service.matches)
        traffic = Traffic(split, matched=new if matches else None, matches=matches, preview=new)
        affinity = self.service.affinity
        if affinity is None:
            return traffic
        return replace(traffic, affinity=affinity.cookie, affinity_key=self.id, affinity_ttl=affinity.ttl)


class Carrier:
    """This process's right to carry a release: what it writes, it writes under the lease."""

    _here: ClassVar[dict[tuple[str, str], Carrier]] = {}

    def __init__(self, release: Release, journal: Journal, lease: FileLease) -> None:
        self.release = release
        self.journal = journal
        self.lease = lease
        self._here[release.name, release.id] = self

    @classmethod
    def of(cls, release: Release) -> Carrier:
        """The carrier of *release* in this process.

        Raises:
            PermanentError: This process does not carry it; not retried.
        """
        carrier = cls._here.get((release.name, release.id))
        if carrier is None:
            msg = f"{release.id}: found no carrier in this process, expected the flow that runs it"
            raise PermanentError(msg)
        return carrier

    @classmethod
    def resume(cls, journal: Journal, *, by: str, over: bool = False) -> Carrier:
        """Take the lease's next epoch for a release that has a journal.

        Args:
            by: Who carries it now, for people who read the journal.
            over: Take it from a carrier that is alive.

        Raises:
            ConflictError: Somebody else carries it; not retried.
        """
        release = Release.of(Record.read(journal))
        lease = take(release.name, release.id, over=over)
        try:
            journal.append("carried", epoch=lease.epoch, by=by)
        except BaseException:
            lease.release_now()
            raise
        return cls(release, journal, lease)

    @cached_property
    def fleet(self) -> Fleet:
        """What runs the service's revisions."""
        return open_fleet(self.release.service)

    @cached_property
    def router(self) -> Router:
        """What splits the service's requests."""
        return open_router(self.release.service)

    @property
    def record(self) -> Record:
        """The release as its journal tells it now."""
        return Record.read(self.journal)

    def write(self, kind: str, key: str = "", /, **data: object) -> None:
        """Append to the journal under the lease.

        Raises:
            LeaseLostError: Another carrier went on in between; not retried.
        """
        self.journal.append(kind, key, epoch=self.lease.epoch, **data)

    def check(self) -> None:
        """Make sure that this process may go on.

        Raises:
            LeaseLostError: Another carrier took over, or the way back has begun; not retried.
        """
        self.lease.check()
        record = self.record
        if record.reverting or record.abort_asked:
            msg = f"{self.release.id}: found the release on its way back, expected it to go on"
            raise LeaseLostError(msg)

    def send(self, traffic: Traffic) -> None:
        """Ask the router for *traffic*; both the wish and its being live are journaled.

        Raises:
            TransientError: Not live yet; retried.
            LeaseLostError: Another carrier took over; not retried.
        """
        before = self.record.served
        self.write("asked", **traffic_to_json(traffic))
        served = self.router.write(traffic, self.lease)
        if not self.router.asks_proxies and isinstance(self.release.service.router, ServiceRouter):
            settle = self.release.service.router.settle
            await_served(self.release.service, traffic, served, before, settle)
        self.write("live", split=traffic.split.to_json(), served=served.to_json())

    def publish(self, revision: Revision) -> tuple[Replica, ...]:
        """Tell the router where *revision*'s replicas are; it returns once it finds them healthy."""
        replicas = tuple(r for r in self.fleet.observe() if r.revision == revision)
        self.router.publish(revision.slot, [replica.address for replica in replicas], self.lease)
        return replicas

    def remove(self, revision: Revision) -> None:
        """Take *revision* out of the routes, let its requests end, stop it. Safe to repeat.

        Raises:
            PermanentError: It still has a share; not retried.
        """
        live = self.router.live()
        lives_there = {r.revision for r in self.fleet.observe() if r.revision.slot == revision.slot}
        if live and live[revision.slot] and lives_there == {revision}:
            msg = f"{revision}: found a share of live requests ({live}), expected none before it is retired"
            raise PermanentError(msg)
        if lives_there <= {revision}:
            self.router.drain(revision.slot, self.release.service.fleet.drain)
            self.router.publish(revision.slot, [], self.lease)
        self.fleet.retire(revision, self.lease)

    def retire_at(self, revision: Revision, when: datetime) -> None:
        """Leave *revision* to the watcher, which retires it at *when* (aware UTC)."""
        if revision not in [waiting for waiting, _ in self.record.due]:
            self.write("due", slot=revision.slot, version=revision.version, when=when.isoformat())

    def end(self, outcome: str, message: str) -> None:
        """Write how the release ended and give the lease back. Safe to repeat."""
        if self.record.ended is None:
            if outcome != Outcome.FROZEN:
                with suppress(DavyError):  # the watcher goes on with it
                    self.give_back()
            self.write("ended", outcome=outcome, message=message)
        self.let_go()

    def give_back(self) -> None:
        """Leave the user's own objects as they were, once all requests are on one revision. Safe to repeat.

        Raises:
            TransientError: The router does not answer; retried.
            LeaseLostError: Another carrier took over; not retried.
        """
        if not self.record.given_back and self.router.give_back(self.lease):
            self.write("given-back")

    def let_go(self) -> None:
        """Give the lease back."""
        self.lease.release_now()
        self._here.pop((self.release.name, self.release.id), None)
