"""A service's world in memory: what runs, what is routed to, what is live, and what happened.

It can die: from the `die_at`-th change on, every change and every journal line raises `Died`,
as if the process had been killed there. What was changed until then stays. It can be away: the
`fail_at`-th change, and `failures` in all, raise `TransientError`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tasks.domain.errors import TransientError
from tasks.domain.model import Address, Health, Replica, Revision, Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.release import Carrier


class Died(BaseException):
    """The process was killed here."""


@dataclass(frozen=True)
class Moment:
    """The world after one change.

    Attributes:
        serving: How many healthy replicas are published in each slot that has a share.
    """

    what: str
    split: Split | None
    serving: dict[Slot, int]
    running: dict[Revision, int]


@dataclass
class World:
    """One service: what runs, what is published, what is live, and what happened."""

    name: str
    running: dict[Revision, list[Replica]] = field(default_factory=dict)
    published: dict[Slot, tuple[Address, ...]] = field(default_factory=dict)
    traffic: Traffic | None = None
    history: list[Moment] = field(default_factory=list)
    sick: set[str] = field(default_factory=set)
    """Versions that never become healthy."""
    errors: dict[str, float] = field(default_factory=dict)
    """By version, the part of its requests that fail."""
    silent: bool = False
    """Nobody sends requests."""
    die_at: int = 0
    fail_at: int = 0
    failures: int = 1
    """How many changes in a row fail from `fail_at` on."""
    changes: int = 0
    dead: bool = False
    on_change: Callable[[str], None] = lambda _what: None
    _ports: int = 20_000
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def change(self, what: str, apply: Callable[[], None] = lambda: None) -> None:
        """Count a change, die or fail where told to, apply it, and check what must always hold."""
        with self._lock:
            if self.dead:
                raise Died(what)
            self.changes += 1
            if self.changes == self.die_at:
                self.dead = True
                raise Died(what)
            if self.fail_at and self.fail_at <= self.changes < self.fail_at + self.failures:
                msg = f"{what}: away, expected an answer"
                raise TransientError(msg)
            apply()
            self._look(what)
        self.on_change(what)

    def _look(self, what: str) -> None:
        split = self.traffic.split if self.traffic else None
        serving = {slot: len(self.healthy_in(slot)) for slot in (split.shares if split else ())}
        running = {revision: len(replicas) for revision, replicas in self.running.items() if replicas}
        self.history.append(Moment(what, split, serving, running))

    def healthy_in(self, slot: Slot) -> list[Replica]:
        """The published healthy replicas of *slot*."""
        there = [r for replicas in self.running.values() for r in replicas if r.revision.slot == slot]
        return [r for r in there if r.address in self.published.get(slot, ()) and r.health is Health.HEALTHY]

    def start(self, revision: Revision, number: int) -> None:
        """One more replica."""
        self._ports += 1
        health = Health.STARTING if revision.version in self.sick else Health.HEALTHY
        replica = Replica(revision, number, "127.0.0.1", self._ports, health)
        self.running.setdefault(revision, []).append(replica)

    def stop(self, revision: Revision, number: int) -> None:
        """One replica fewer."""
        self.running[revision] = [r for r in self.running[revision] if r.number != number]
        if not self.running[revision]:
            del self.running[revision]

    def have_stable(self, replicas: int, version: str = "v1", slot: Slot = Slot.BLUE) -> Revision:
        """Let *version* have all live requests, without any release."""
        revision = Revision(self.name, slot, version)
        for number in range(1, replicas + 1):
            self.start(revision, number)
        self.published[slot] = tuple(r.address for r in self.running[revision])
        self.traffic = Traffic(Split.all_to(slot))
        return revision

    def end_state(self) -> tuple[object, ...]:
        """What users and operators can see: running, published and live."""
        running = {str(revision): len(replicas) for revision, replicas in self.running.items() if replicas}
        published = {slot: len(addresses) for slot, addresses in self.published.items() if addresses}
        return self.traffic, dict(sorted(running.items())), dict(sorted(published.items()))

    def revive(self) -> None:
        """The process is gone, its lease has expired, and another one may start."""
        self.dead, self.die_at, self.fail_at = False, 0, 0
        self.on_change = lambda _what: None
        for carrier in list(Carrier._here.values()):
            carrier.lease._stop.set()
        Carrier._here.clear()
        expire_lease(self.name)


def expire_lease(service: str) -> None:
    """Nobody has renewed the service's lease for an hour."""
    long_ago = time.time() - 3600
    newest = max((settings().routes / service).glob("epoch-*/lease.json"), default=None)
    if newest:
        os.utime(newest, (long_ago, long_ago))


def shares_of(history: Collection[Moment]) -> list[Split]:
    """The splits that were live, one after the other."""
    splits: list[Split] = []
    for moment in history:
        if moment.split and (not splits or splits[-1] != moment.split):
            splits.append(moment.split)
    return splits


def unserved(history: Collection[Moment]) -> list[str]:
    """Moments in which a share had no healthy replica behind it."""
    return [
        f"{moment.what}: {moment.split} served by {moment.serving}"
        for moment in history
        if not all(moment.serving.values())
    ]
