"""Move live requests between a service's revisions, and hold what was reached."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module

from tasks.domain.errors import PermanentError
from tasks.domain.model import Revision, Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.domain.spec import Canary
from tasks.domain.units import WHOLE
from tasks.drift import handle_drift
from tasks.journal import Line
from tasks.record import Record
from tasks.release import Carrier, Release
from tasks.step import step
from tasks.step_acts import StepActs, step_name, step_of

PULSE_TTL = timedelta(seconds=5)
"""A watcher that was not heard of for so long counts as dead."""
PULSE_PATIENCE = timedelta(seconds=20)
"""How long the supervisor may take to bring a dead watcher back."""
POLL = 0.2
"""Seconds between two looks at the journal while a step is held."""
DRIFT = 1.0
"""Seconds between two looks at whether somebody else has changed what is held."""


@step("open-preview-{revision.slot}")
def open_preview(release: Release, revision: Revision) -> None:
    """Put *revision* behind the preview port; every user stays on stable.

    Raises:
        TransientError: Asked for but not live yet; retried.
    """
    Carrier.of(release).send(Traffic(Split.all_to(release.old.slot), preview=revision.slot))


@step("match-and-mirror-{revision.slot}")
def match_and_mirror(release: Release, revision: Revision) -> None:
    """Send *revision* the testers' requests and copies of users', before any user's own.

    Raises:
        TransientError: Asked for but not live yet; retried.
    """
    mirror = release.service.mirror
    traffic = replace(
        release.between(Split.all_to(release.old.slot), revision.slot),
        affinity=None,
        mirror=revision.slot if mirror else None,
        mirror_share=mirror.share if mirror else 0,
    )
    _send(release, traffic)


@step("shift-traffic-{revision.slot}-{share:share}")
def shift_traffic(release: Release, revision: Revision, share: int) -> None:
    """Send *share* of live requests to *revision*, the rest to stable (and the baseline).

    Returns once the data plane serves the new split.

    Args:
        share: Basis points, 0 to 10,000.

    Raises:
        TransientError: Asked for but not live yet; retried.
        PermanentError: The router refuses, or no watcher is alive; not retried.
    """
    split = split_for(release, revision, share)
    on_trial = 0 < share < WHOLE
    _send(release, release.between(split, revision.slot) if on_trial else Traffic(split))


@step("switch-to-{revision.slot}")
def switch_to(release: Release, revision: Revision) -> None:
    """Send every request to a revision that is not on trial: the first one, or the previous one.

    Raises:
        TransientError: Asked for but not live yet; retried.
    """
    Carrier.of(release).send(Traffic(Split.all_to(revision.slot)))


def not_begun_anew(_release: Release, record: Record, done: Line) -> bool:
    """Whether a recorded bake still counts: nobody has had its step begin anew since."""
    return StepActs(record, step_of(done.key)).counts(done)


def nor_held(release: Release, record: Record, done: Line) -> bool:
    """Whether a recorded bake still counts: neither begun anew nor held, which may be said as it ends."""
    return not_begun_anew(release, record, done) and not StepActs(record, step_of(done.key)).is_held


@step("bake-{revision.slot}-{share:share}-{attempt}", valid=nor_held)
def bake(release: Release, revision: Revision, share: int, span: timedelta, attempt: int) -> None:
    """Hold the split for *span* (times *attempt*), counted from when it became live.

    The watcher guards it meanwhile; once it has proven that *revision* is no worse, the bake ends
    where the service file says so. A person's act ends it at once, or holds it longer.

    Raises:
        LeaseLostError: The release was taken over or taken back; not retried.
    """
    carrier = Carrier.of(release)
    import_module("tasks.judge.comparisons")  # takes seconds on a busy machine, which a bake has to spare
    _hold(carrier, step_name(revision.slot, share), attempt * span, early=attempt == 1)


@step("bake-{revision.slot}-{share:share}-until-{span}", valid=not_begun_anew)
def bake_until(release: Release, revision: Revision, share: int, span: timedelta) -> None:
    """Hold the split for *span* of its bake, at the end of which it is judged for the first time, or once more.

    Raises:
        LeaseLostError: The release was taken over or taken back; not retried.
    """
    _hold(Carrier.of(release), step_name(revision.slot, share), span, early=True, part=True)


def _hold(carrier: Carrier, name: str, span: timedelta, *, early: bool, part: bool = False) -> None:
    """Return *span* after the step began, or once an act ends its bake.

    Args:
        name: The step's.
        early: Return once the new version is proven no worse, too.
        part: Only a part of the bake, at whose end nobody's hold has to be waited for.
    """
    looked = time.monotonic()
    begun = StepActs(carrier.record, name).retries
    while not (acts := StepActs(carrier.record, name)).override and acts.retries == begun:
        held = acts.is_held
        if not (held and not part) and _has_lasted(acts, span, early=early and not held):
            return
        carrier.check()
        if time.monotonic() - looked > DRIFT:
            handle_drift(carrier)
            looked = time.monotonic()
        time.sleep(POLL)


def _has_lasted(acts: StepActs, span: timedelta, *, early: bool) -> bool:
    """Whether the step was held for *span*, or where *early* has proven enough since it began."""
    if (since := acts.since) is None:
        return False
    same = acts.record.last("same")
    return datetime.now(UTC) >= since + span or bool(early and same and same.at >= since)


def split_for(release: Release, revision: Revision, share: int) -> Split:
    """The split that gives *revision* its *share*: a baseline gets the same, stable the rest."""
    shares = {revision.slot: share}
    service = release.service
    if revision.slot is Slot.CANDIDATE and isinstance(service, Canary) and service.has_baseline(share):
        shares[Slot.BASELINE] = share
    shares[release.old.slot] = WHOLE - sum(shares.values())
    return Split(shares)


def _send(release: Release, traffic: Traffic) -> None:
    await_watcher()
    Carrier.of(release).send(traffic)


def await_watcher() -> None:
    """Return once the watcher is alive: no candidate gets traffic that nobody guards.

    Raises:
        PermanentError: It was not heard of for too long; not retried.
    """
    deadline = time.monotonic() + PULSE_PATIENCE.total_seconds()
    while (age := _pulse_age()) > PULSE_TTL.total_seconds():
        if time.monotonic() > deadline:
            msg = (
                f"watcher: last heard of {age:.0f} s ago, expected at most {PULSE_TTL.total_seconds():.0f} s"
            )
            raise PermanentError(msg)
        time.sleep(POLL)


def _pulse_age() -> float:
    try:
        return time.time() - settings().watcher_pulse.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
