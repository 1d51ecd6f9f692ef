"""What is released in a night, in which waves, and what is started next: pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from tasks.domain.nightly import Night
from tasks.nights.entry import Decision, Entry
from tasks.versions import Found
from tasks.versions.order import is_older

Choice = tuple[Decision, str]


@dataclass(frozen=True)
class TakenBack:
    """A release that users were taken back from, or that only tried its version.

    Attributes:
        how: Its end, in words, as in ``rolled back``.
        digest: What exactly was released; empty where nobody has recorded it.
    """

    release: str
    how: str
    at: datetime
    digest: str = ""


def choose(found: Found | None, stable: str, before: TakenBack | None, pattern: str) -> Choice:
    """Whether the newest version is released, and why, in words.

    Args:
        stable: The version that users are on; empty for none.
        before: What became of the newest version the last time, where that was not good.
        pattern: Which part of a version is compared, as `tasks.versions.order.is_older` has it.
    """
    if found is None:
        return Decision.LEAVE_OUT, "its source has no version that the pattern takes"
    if reason := no_step_ahead(found, stable, pattern):
        return Decision.LEAVE_OUT, reason
    if before is None:
        return Decision.RELEASE, f"newer than stable {stable}" if stable else "its first version"
    if before.digest and found.digest and before.digest != found.digest:
        return Decision.RELEASE, f"{before.how} before, but published again since with another content"
    return Decision.LEAVE_OUT, f"{before.how} before, on {before.at:%Y-%m-%d}, by {before.release}"


def no_step_ahead(found: Found, stable: str, pattern: str) -> str:
    """Why the newest version is nothing new to users on *stable*; empty when it is new."""
    if stable and found.is_(stable):
        same = "" if found.version == stable else f" under the name {found.version}"
        return f"no newer version: the newest is stable{same}"
    if stable and is_older(found.version, stable, pattern):
        return f"the newest version, {found.version}, is older than stable {stable}"
    return ""


def release_id(service: str, found: Found, night: date) -> str:
    """The same for the same version (and content) in the same night, so that it is never released twice."""
    slug = re.sub(r"[^a-z0-9.]+", "-", found.version.lower()).strip("-.")[:40]
    exact = hashlib.sha256(f"{service}\n{found.version}\n{found.digest}\n{night}".encode()).hexdigest()
    return f"{service}-{slug}-{night:%Y%m%d}-night-{exact[:8]}"


def in_waves(names: Sequence[str], night: Night) -> list[list[str]]:
    """*names* in the night's waves; those in no wave come last, together, in their own order."""
    ordered = [[name for name in wave if name in names] for wave in night.waves]
    placed = {name for wave in ordered for name in wave}
    rest = [name for name in names if name not in placed]
    return [wave for wave in [*ordered, rest] if wave]


def failures(entries: Sequence[Entry]) -> int:
    """How many releases did not end well."""
    return sum(entry.failed for entry in entries)


def stopped(entries: Sequence[Entry], night: Night) -> bool:
    """So many releases have failed that nothing more is started."""
    return failures(entries) >= night.stop_after_failures


def startable(wave: Sequence[Entry], entries: Sequence[Entry], night: Night) -> list[Entry]:
    """Those of *wave* to start now, within the cap.

    Args:
        entries: All of the night, whose failures count.
    """
    if stopped(entries, night):
        return []
    room = night.max_at_once - sum(entry.runs for entry in entries)
    return [entry for entry in wave if entry.waits][: max(0, room)]
