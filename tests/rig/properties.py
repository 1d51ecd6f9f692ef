"""What always holds, as functions of what was seen. Each gives the violations, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import comb

from tests.rig.recorder import Census, Look
from tests.rig.requests import Request
from tests.rig.services import Promise

WHOLE = 10_000
LATE = 0.3
"""Seconds by which a look may be late."""
CHANCE = 1e-8
"""Rarer counts are not chance: a session counts some thousand seconds."""


@dataclass(frozen=True)
class Plateau:
    """A share of the new version that was seen from one moment to another (epoch seconds).

    ``end`` is the first look at another share.
    """

    share: int
    start: float
    end: float


def wrong_sums(looks: Sequence[Look]) -> list[str]:
    """Property 1: shares add up to 100 %."""
    return [f"{look.at:.2f}: {dict(look.split)}" for look in looks if sum(look.split.values()) != WHOLE]


def unhealthy_shares(looks: Sequence[Look], tolerated: float = 0) -> list[str]:
    """Property 1: no share goes to a slot without a healthy replica.

    A look reads the split before the replicas, so a share counts that the next look has too.

    Args:
        tolerated: Seconds that a bad version's dead replicas may keep their share.
    """
    found: list[str] = []
    since: dict[str, float] = {}
    for look, after in pairwise(looks):
        bad = {slot for slot in look.split if slot in after.split and not look.healthy(slot)}
        since = {slot: since.get(slot, look.at) for slot in bad}
        late = [slot for slot, start in since.items() if look.at - start >= tolerated]
        found += [
            f"{look.at:.2f}: {slot} has {look.split[slot]}, hosts {look.hosts.get(slot)}" for slot in late
        ]
    return found


def plateaus(looks: Sequence[Look], old: Collection[str]) -> list[Plateau]:
    """The new version's shares, in order.

    Args:
        old: The slots of the old version.
    """
    shares = [(sum(part for slot, part in look.split.items() if slot not in old), look.at) for look in looks]
    groups = [(share, [at for _, at in group]) for share, group in groupby(shares, key=lambda pair: pair[0])]
    ends = [ats[0] for _, ats in groups[1:]] + [looks[-1].at]
    return [Plateau(share, ats[0], end) for (share, ats), end in zip(groups, ends, strict=True)]


def unpromised_shares(seen: Sequence[Plateau], promised: Sequence[Promise], *, whole: bool) -> list[str]:
    """Property 2: the shares are the steps', in order, and each is held before a larger one.

    Args:
        whole: Every step must have been there; else the release may go back to 0 at any time.
    """
    shares = [plateau.share for plateau in seen]
    steps = [promise.share for promise in promised]
    up = shares[1:] if shares[-1] or whole else shares[1:-1]
    good = shares[0] == 0 and up == (steps if whole else steps[: len(up)])
    found = [] if good else [f"shares {shares}, promised {steps}"]
    for step, promise, after in zip(seen[1:], promised, seen[2:], strict=False):
        if after.share > step.share and step.end - step.start < promise.seconds - LATE:
            found.append(f"{step}: held {step.end - step.start:.2f} s, promised {promise.seconds} s")
    return found


def off_counts(requests: Sequence[Request], seen: Sequence[Plateau], old: Collection[str]) -> list[str]:
    """Property 2: in each second the new version is drawn as often as a share of that time lets expect."""
    found = []
    drawn = [one for one in requests if not one.kind and seen[0].start + 1 < one.at < seen[-1].end - 1]
    for second, group in groupby(sorted(drawn, key=lambda one: one.at), key=lambda one: int(one.at)):
        slots = [one.slot for one in group]
        new, total = sum(slot not in old for slot in slots), len(slots)
        shares = [p.share for p in seen if p.start < second + 1 + LATE and p.end > second - LATE]
        least, most = min(shares) / WHOLE, max(shares) / WHOLE
        if _at_least(new, total, most) < CHANCE or _at_least(total - new, total, 1 - least) < CHANCE:
            found.append(f"second {second}: {new} of {total}, shares {shares}")
    return found


def missing_capacity(looks: Sequence[Look], least: int, *, dying: str = "") -> list[str]:
    """Property 5, of strategies that switch: the old version is whole until the new one has everything.

    Args:
        dying: The slot of a version that kills its own replicas; all that are known of it count.
    """
    found = []
    for look, after in pairwise(looks):
        kept = [
            _size(look, slot, dying)
            for slot in ("blue", "green")
            if slot in look.split and slot in after.split
        ]
        if kept and max(kept) < least:
            found.append(f"{look}: expected {least} healthy")
    return found


def missing_in_batches(looks: Sequence[Look], least: int, *, dying: str = "") -> list[str]:
    """Property 5, of rolling releases: both versions together; see `missing_capacity`."""
    sizes = [(look, _size(look, "blue", dying) + _size(look, "green", dying)) for look in looks]
    return [f"{look}: {size} healthy, expected {least}" for look, size in sizes if size < least]


def blameless(requests: Sequence[Request], old: Collection[str]) -> list[str]:
    """Property 4: failed requests that the new version has nothing to do with."""
    return [str(one) for one in requests if one.failed and one.slot in ("", *old)]


def back_since(looks: Sequence[Look], slot: str) -> float:
    """Property 3: since when all traffic has been on *slot* until the last look; infinite if it is not."""
    since = float("inf")
    for look in reversed(looks):
        if dict(look.split) != {slot: WHOLE}:
            break
        since = look.at
    return since


def left_over(censuses: Sequence[Census], expected: Sequence[str], after: float) -> list[str]:
    """Property 3: that other versions than *expected* (one for each replica) run later than *after*."""
    late = [census for census in censuses if census.at > after]
    return [
        f"{census.at - after:.1f} s late: {census}"
        for census in late
        if sorted(census.versions.values()) != sorted(expected)
    ]


def _size(look: Look, slot: str, dying: str) -> int:
    return len(look.hosts.get(slot, {})) if slot == dying else look.healthy(slot)


def _at_least(count: int, total: int, share: float) -> float:
    """The chance of so many or more in *total* draws."""
    return sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count, total + 1))
