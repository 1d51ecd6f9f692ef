"""Hold a share and judge it: what every strategy does between two moves."""

from __future__ import annotations

from datetime import timedelta

from tasks.analysis import analyse
from tasks.domain.errors import JudgedError
from tasks.domain.model import Result, Revision
from tasks.release import Release
from tasks.traffic import bake, match_and_mirror

ATTEMPTS = 2
"""A bake whose verdict is marginal or inconclusive is extended once."""


def look_first(release: Release, revision: Revision) -> None:
    """Where the service file says so: testers' requests and copies of users' before users' own.

    Raises:
        JudgedError: The copies were not answered well enough; not retried.
    """
    mirror = release.service.mirror
    if mirror or release.service.matches:
        match_and_mirror(release, revision)
    if mirror:
        hold_and_judge(release, revision, 0, mirror.bake)


def hold_and_judge(release: Release, revision: Revision, share: int, span: timedelta) -> None:
    """Hold the share for *span* and judge it; extend once where the verdict says neither.

    Args:
        share: Basis points that *revision* has now.

    Raises:
        JudgedError: The verdict does not let the release go on; not retried.
        LeaseLostError: The guard took the release back meanwhile; not retried.
    """
    for attempt in range(1, ATTEMPTS + 1):
        bake(release, revision, share, span, attempt)
        verdict = analyse(release, revision, share, attempt)
        if verdict.result is Result.PASS:
            return
        if verdict.result is Result.FAIL:
            break
    msg = f"{revision}: verdict {verdict.result}, expected pass: {verdict.reason}"
    raise JudgedError(msg)
