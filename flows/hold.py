"""Hold a share and judge it: what every strategy does between two moves."""

from __future__ import annotations

from datetime import timedelta
from math import ceil

from flows.gate import await_approval
from tasks.analysis import analyse, judge_meanwhile, skip_analysis
from tasks.domain.errors import JudgedError
from tasks.domain.model import Result, Revision, Verdict
from tasks.domain.units import WHOLE
from tasks.release import Carrier, Release
from tasks.step_acts import StepActs, step_name
from tasks.traffic import bake, bake_until, match_and_mirror

ATTEMPTS = 2
"""A bake whose verdict is marginal or inconclusive is extended once."""


def look_first(release: Release, revision: Revision) -> None:
    """Where the service file says so: approval, then testers' requests and copies of users' before users' own.

    Raises:
        RejectedError: It was not approved; not retried.
        JudgedError: The copies were not answered well enough; not retried.
    """
    mirror = release.service.mirror
    await_approval(release, revision, 1)
    if mirror or release.service.matches:
        match_and_mirror(release, revision)
    if mirror:
        hold_and_judge(release, revision, 0, mirror.bake)


def hold_and_judge(release: Release, revision: Revision, share: int, span: timedelta) -> None:
    """Hold the share for *span* and judge it; extend once where the verdict says neither.

    A person's act may end the bake without a verdict (``skip``, ``promote``), or begin it anew (``retry``).

    Args:
        share: Basis points that *revision* has now.

    Raises:
        JudgedError: The verdict does not let the release go on; not retried.
        LeaseLostError: The guard took the release back meanwhile; not retried.
    """
    while True:
        begun = _acts(release, revision, share).retries
        verdict = hold_once(release, revision, share, span)
        acts = _acts(release, revision, share)
        if acts.override:
            skip_analysis(release, revision, share)
            return
        if acts.retries == begun:
            break
    if verdict.result is not Result.PASS:
        raise refusal(revision, verdict)


def hold_once(release: Release, revision: Revision, share: int, span: timedelta) -> Verdict:
    """Hold the share and judge it, until that comes to something or a person's act ends it.

    Returns:
        The verdict; inconclusive where an act has ended it.
    """
    begun = _acts(release, revision, share).retries

    def is_cut() -> bool:
        acts = _acts(release, revision, share)
        return acts.override is not None or acts.retries != begun

    verdict = Verdict(Result.INCONCLUSIVE)
    for part in parts(release, share, span):
        bake_until(release, revision, share, part)
        if is_cut():
            return verdict
        judged = judge_meanwhile(release, revision, share, part)
        if judged.result is Result.FAIL:
            return judged
    for attempt in range(1, ATTEMPTS + 1):
        bake(release, revision, share, span, attempt)
        while _acts(release, revision, share).is_held and not is_cut():
            bake(release, revision, share, span, attempt)
        if is_cut():
            break
        verdict = analyse(release, revision, share, attempt)
        if verdict.result in (Result.PASS, Result.FAIL):
            break
    return verdict


def _acts(release: Release, revision: Revision, share: int) -> StepActs:
    """What people have said in the step by now."""
    return StepActs(Carrier.of(release).record, step_name(revision.slot, share))


def parts(release: Release, share: int, span: timedelta) -> list[timedelta]:
    """When a step is judged before its end, as time since it began; only a canary config asks for that."""
    canary = release.service.analysis.canary
    if canary is None or not canary.interval or share == WHOLE:
        return []
    return [number * canary.interval for number in range(1, ceil(span / canary.interval))]


def refusal(revision: Revision, verdict: Verdict) -> JudgedError:
    """Why the release does not go on."""
    return JudgedError(f"{revision}: verdict {verdict.result}, expected pass: {verdict.reason}")
