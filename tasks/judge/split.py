"""Judge the realised split: what was counted against what was asked for. Pure."""

from __future__ import annotations

from statistics import NormalDist

import pandas as pd
from scipy.special import betainc

from tasks.domain.model import Finding, Result, Slot, Split
from tasks.domain.units import WHOLE, format_share
from tasks.judge.evidence import columns_of
from tasks.judge.words import number

CHANCE = 2 * NormalDist().cdf(-4.0)
"""How likely chance alone may lead to a wrong failure of a split, in one check: four standard
deviations, about 1 in 16,000. The test is the exact binomial one, both tails doubled
(Clopper and Pearson, Biometrika 26, 1934): a normal approximation is too bold for small shares."""


def knows_drawn(frame: pd.DataFrame) -> bool:
    """Whether the source of *frame* tells requests that were drawn by weight from others."""
    return any(
        measure == "drawn" and frame[slot, measure].notna().any() for slot, measure in columns_of(frame)
    )


def judge_split(
    frame: pd.DataFrame, asked: Split, tolerance: int, min_requests: int, *, measure: str = "drawn"
) -> Finding:
    """Hold the counted split of drawn requests against the one asked for.

    It fails when a slot's share is further from its asked one than *tolerance* and chance
    does not explain that. The finding is about the worst slot. Moments in which a slot with
    a share was not sampled are left out.

    Args:
        tolerance: Basis points.
        min_requests: With fewer drawn requests in all, it is inconclusive.
        measure: ``requests`` where all of them were drawn, and the source does not say so.
    """
    drawn = pd.DataFrame({slot: frame[slot, name] for slot, name in columns_of(frame) if name == measure})
    wanted = [str(slot) for slot in asked.shares]
    missing = [slot for slot in wanted if slot not in drawn or drawn[slot].isna().all()]
    counted = drawn.dropna(subset=wanted).sum() if not missing else pd.Series(dtype="float64")
    total = int(counted.sum())
    if total < max(min_requests, 1):
        reason = f"split is not known: {total} drawn requests, at least {max(min_requests, 1)} needed"
        if missing:
            reason = f"split is not known: no samples of {', '.join(missing)}"
        return Finding("split", (missing or wanted)[0], Result.INCONCLUSIVE, None, reason)
    counts = {Slot(str(slot)): int(count) for slot, count in counted.items()}
    # The two slots of a split are off by the same; the one with the smaller share tells more.
    worst_first = sorted(
        counts, key=lambda slot: (-abs(counts[slot] * WHOLE - asked[slot] * total), asked[slot])
    )
    findings = [_hold_share(slot, counts[slot], total, asked[slot], tolerance) for slot in worst_first]
    return next((finding for finding in findings if finding.result is Result.FAIL), findings[0])


def _hold_share(slot: Slot, count: int, total: int, asked: int, tolerance: int) -> Finding:
    """One slot's counted share against the asked one, both in basis points."""
    beyond = abs(count * WHOLE - asked * total) > tolerance * total
    chance = beyond and _likelihood(count, total, asked / WHOLE) >= CHANCE
    reason = (
        f"{slot} got {number(100 * count / total)}% of {total} drawn requests, "
        f"asked for {format_share(asked)} give or take {format_share(tolerance)}"
        f"{', which chance explains' if chance else ''}"
    )
    result = Result.FAIL if beyond and not chance else Result.PASS
    return Finding("split", slot, result, 100 * count / total, reason)


def _likelihood(count: int, total: int, share: float) -> float:
    """How likely a binomial draw is to be at least so far off on either side; see `CHANCE`."""
    if count > total * share:
        return min(2 * _upper_tail(count, total, share), 1.0)
    return min(2 * _upper_tail(total - count, total, 1 - share), 1.0)


def _upper_tail(count: int, total: int, share: float) -> float:
    """P(X >= count) for X ~ Binomial(total, share), as the incomplete beta function has it."""
    return float(betainc(count, total - count + 1, share)) if count else 1.0
