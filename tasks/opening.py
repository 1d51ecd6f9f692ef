"""Begin a release: take the lease, look at the world, freeze both in the journal's first line."""

from __future__ import annotations

import time
from datetime import timedelta

from tasks.detectable import refuse_blind
from tasks.domain.errors import ConflictError, InputError, UnhealthyError
from tasks.domain.model import Outcome, Revision
from tasks.domain.spec import ServiceFile
from tasks.fleets import open_fleet
from tasks.journal import FileLease, journal_of, read_lease, take
from tasks.record import Opening, Record
from tasks.release import Carrier, Release
from tasks.routers import open_router
from tasks.turns import LOOK_BACK, await_turn, recent, refuse_begun, refuse_second

TIDYING = timedelta(seconds=60)
"""How long clearing away after the last release may take."""


def open_release(release: str, kind: str, service: ServiceFile, version: str, starter: str = "") -> Carrier:
    """Begin *release* of *version*; nothing but the lease and the journal is written.

    Args:
        kind: The flow that carries it: a strategy's name, or ``rollback``.

    Raises:
        ConflictError: Another release of the service is under way, and ``on_conflict`` is ``reject``, or another
            process has begun this one; not retried.
        SupersededError: A newer release waits for its turn, too; not retried.
        WithdrawnError: It was cancelled while it waited for its turn; not retried.
        InputError: The version is stable already, or not a version, or a step is too weak; not retried.
        TransientError: Fleet or router do not answer; retried.
    """
    await_turn(service, release, version)
    lease = take_patiently(service.service, release)
    try:
        refuse_begun(service.service, release)
        refuse_second(service.service)
        stable, replicas = find_stable(service)
        check_version(version, stable)
        refuse_blind(service, stable, replicas)
        journal = journal_of(service.service, release)
        opening = Opening(kind, service, version, stable, replicas, starter)
        journal.append("opened", epoch=lease.epoch, **opening.to_json())
    except BaseException:
        lease.release_now()
        raise
    return Carrier(Release(release, service, version, stable, replicas), journal, lease)


def take_patiently(service: str, release: str) -> FileLease:
    """Take the lease; wait while it is held only to clear away after a release that has ended.

    Raises:
        ConflictError: Another release holds it; not retried.
    """
    deadline = time.monotonic() + TIDYING.total_seconds()
    while True:
        try:
            return take(service, release)
        except ConflictError:
            held = read_lease(service)
            tidying = (
                held
                and (journal := journal_of(service, held.release)).exists()
                and Record.read(journal).ended
            )
            if not tidying or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def promoted_last(service: str) -> Opening:
    """The last release of *service* that took it from one version to another.

    Raises:
        InputError: There is none, so there is nothing to go back to; not retried.
    """
    for record in recent(service):
        if record.outcome is Outcome.PROMOTED and record.opening.stable:
            return record.opening
    raise InputError("service", service, f"a service with a promoted release among its last {LOOK_BACK}")


def file_of(service: str, version: str) -> ServiceFile | None:
    """The service file that *version* was last promoted with; None when that is long ago."""
    for record in recent(service):
        if record.outcome is Outcome.PROMOTED and record.opening.version == version:
            return record.service
    return None


def find_stable(service: ServiceFile) -> tuple[Revision | None, int]:
    """The revision that has all live requests, and its number of copies.

    Raises:
        ConflictError: Live requests are split; not retried.
        UnhealthyError: Nothing runs where all requests go; not retried.
    """
    live = open_router(service).live()
    if live is None:
        return None, service.replicas
    if len(live.shares) != 1:
        msg = f"{service.service}: found live requests split ({live}), expected all on one revision"
        raise ConflictError(msg)
    slot = next(iter(live.shares))
    published = open_router(service).published(slot)
    there = [r for r in open_fleet(service).observe() if r.revision.slot == slot]
    replicas = [replica for replica in there if replica.address in published]
    if not replicas:
        msg = f"{service.service}: found no replica in {slot}, where all requests go, expected at least one"
        raise UnhealthyError(msg)
    return replicas[0].revision, len(replicas)


def check_version(version: str, stable: Revision | None) -> None:
    """Make sure that *version* can be released over *stable*.

    Raises:
        InputError: It is stable already, or empty or odd; not retried.
    """
    if not version.strip() or any(letter.isspace() or not letter.isprintable() for letter in version):
        raise InputError("version", version, "a version without spaces, such as 1.4.2")
    if stable and stable.version == version:
        raise InputError("version", version, "a version other than the stable one")


def preflight(service: ServiceFile, version: str) -> tuple[Revision | None, int]:
    """Everything that can be refused before a release begins; touches nothing.

    Returns:
        The stable revision and its number of copies, as `find_stable` does.

    Raises:
        InputError: The version, the command or a port is wrong, or a step is too weak; not retried.
        ConflictError: Another release of the service is under way; not retried.
    """
    refuse_second(service.service)
    open_fleet(service).check(version)
    open_router(service).check()
    stable, replicas = find_stable(service)
    check_version(version, stable)
    refuse_blind(service, stable, replicas)
    return stable, replicas
