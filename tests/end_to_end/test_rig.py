"""The rig sees violations: each property says so when what was recorded breaks it."""

from __future__ import annotations

import pytest

from tests.rig import properties
from tests.rig.properties import Plateau, plateaus
from tests.rig.recorder import Census, Look
from tests.rig.requests import Request
from tests.rig.services import Promise

WELL = {"blue": {1: True, 2: True}, "candidate": {3: True}}
SICK = WELL | {"candidate": {3: False}}
STEPS = [Promise(2000, 4), Promise(10_000, 3)]


def looks(*shares: int, every: float = 1) -> list[Look]:
    """Looks at these shares of the candidate."""
    splits = [{"blue": 10_000 - share, "candidate": share} for share in shares]
    return [
        Look(number * every, {slot: part for slot, part in split.items() if part}, WELL)
        for number, split in enumerate(splits)
    ]


def test_a_sum_that_is_not_whole_is_seen() -> None:
    assert properties.wrong_sums([Look(0, {"blue": 9_999}, WELL)])


def test_a_share_without_a_healthy_replica_is_seen_unless_it_is_short_enough() -> None:
    sick = [Look(at, {"blue": 8000, "candidate": 2000}, SICK) for at in (0, 1, 2, 3)]
    assert properties.unhealthy_shares(sick)
    assert properties.unhealthy_shares(sick, tolerated=2)
    assert properties.unhealthy_shares(sick, tolerated=3) == []


@pytest.mark.parametrize(
    ("shares", "whole"),
    [
        ([0, 10_000], True),  # a step was left out
        ([0, 2000], True),  # the end is missing
        ([0, 3000, 0], False),  # more than the step
        ([0, 2000, 0, 2000], False),  # not back for good
        ([0, 2000, 10_000], True),  # held for one second instead of four
        ([2000, 0], False),  # it began with a share
    ],
)
def test_a_share_that_was_not_promised_is_seen(shares: list[int], *, whole: bool) -> None:
    seen = plateaus(looks(*shares, shares[-1]), ["blue"])
    assert properties.unpromised_shares(seen, STEPS, whole=whole)


def test_promised_shares_are_no_violation() -> None:
    seen = plateaus(looks(0, *[2000] * 5, *[10_000] * 5), ["blue"])
    assert properties.unpromised_shares(seen, STEPS, whole=True) == []


def test_draws_that_no_share_explains_are_seen() -> None:
    seen = [Plateau(2000, 0, 10)]
    drawn = [Request(5 + n / 100, "candidate" if n % 2 else "blue", "", 200, "", "") for n in range(100)]
    assert properties.off_counts(drawn, seen, ["blue"])
    assert properties.off_counts(drawn, [Plateau(5000, 0, 10)], ["blue"]) == []


def test_missing_capacity_is_seen() -> None:
    assert properties.missing_capacity(looks(0, 0), 3)
    assert properties.missing_in_batches(looks(0, 0), 3)
    assert properties.missing_capacity(looks(0, 0), 2) == []


def test_failures_of_the_old_version_and_of_nobody_are_seen() -> None:
    failed = [Request(0, slot, "", 503, "", "") for slot in ("blue", "", "candidate")]
    assert len(properties.blameless(failed, ["blue"])) == 2


def test_traffic_that_is_not_back_and_replicas_left_over_are_seen() -> None:
    assert properties.back_since(looks(2000, 0, 2000), "blue") == float("inf")
    assert properties.back_since(looks(2000, 0, 0), "blue") == 1
    late = [Census(5, {1: "1.0", 3: "2.0"}, {})]
    assert properties.left_over(late, ["1.0"], 4)
    assert properties.left_over(late, ["1.0"], 6) == []
