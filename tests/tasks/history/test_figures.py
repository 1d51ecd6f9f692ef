"""DORA's four figures: which releases count in which, and what nothing gives."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from tasks.domain.model import Outcome
from tasks.history import End, Entry, Figures, Spread, Tally, ends_of, rounded, tally_of
from tests.tasks.history.past import NOW

SINCE = NOW - timedelta(days=28)
NUMBERS = count()
MINUTE = timedelta(minutes=1)
GOOD = Entry(
    *("shop", "r", "canary", "v2", "v1", NOW - timedelta(days=1), NOW - timedelta(days=1) + 10 * MINUTE),
    *(Outcome.PROMOTED, "", "", "", None, None, None),
    exposed=True,
    degraded=False,
    steps=3,
    largest=10_000,
)


def one(outcome: Outcome | None = Outcome.PROMOTED, **fields: Any) -> Entry:  # noqa: ANN401 - as an entry has it
    """A release with an id of its own; one of users that was taken back was restored within a minute."""
    made = GOOD._replace(release=f"r{next(NUMBERS)}", outcome=outcome, **fields)
    if outcome in (Outcome.ROLLED_BACK, Outcome.FAILED) and made.exposed and "restored" not in fields:
        return made._replace(detected=made.began + MINUTE, restored=made.began + 2 * MINUTE)
    return made


def figures(*entries: Entry) -> Figures:
    return tally_of(entries, SINCE, NOW).figures(NOW - SINCE)


def rollback(of: Entry, after: timedelta, took: timedelta = MINUTE) -> Entry:
    """A rollback that began *after* the end of *of*."""
    began = (of.ended or NOW) + after
    times: dict[str, Any] = {
        "began": began,
        "ended": began + took,
        "detected": began,
        "restored": began + took,
    }
    return one(kind="rollback", version=of.stable, stable=of.version, service=of.service, **times)


def test_without_releases_every_figure_is_nothing() -> None:
    found = figures()
    assert (found.releases, found.per_week, found.failure_rate) == (0, None, None)
    assert (found.lead_time, found.restoring) == (None, None)
    assert found.to_json()["change_failure_rate"] is None


def test_a_release_that_runs_counts_nowhere() -> None:
    assert figures(one(None, ended=None)) == figures()


def test_releases_count_by_when_they_ended() -> None:
    before, after = SINCE - MINUTE, SINCE + MINUTE
    assert figures(one(began=before - MINUTE, ended=before)).releases == 0
    assert figures(one(began=before, ended=after)).releases == 1


def test_frequency_is_of_promoted_releases() -> None:
    found = figures(one(), one(), one(Outcome.TRIED), one(Outcome.ROLLED_BACK))
    assert (found.promoted, found.per_week, found.releases) == (2, 0.5, 4)


def test_lead_times_count_from_commits_where_they_are_known() -> None:
    found = figures(one(), one(committed=GOOD.began - 20 * MINUTE), one(Outcome.TRIED))
    assert found.lead_time == Spread(20 * MINUTE, 30 * MINUTE, 2)
    assert found.from_commit == 1


@pytest.mark.parametrize(
    ("entry", "end"),
    [
        (one(), End.PROMOTED),
        (one(Outcome.TRIED), End.TRIED),
        (one(Outcome.ROLLED_BACK), End.FAILED),
        (one(Outcome.FAILED), End.FAILED),
        (one(Outcome.FROZEN), End.FAILED),
        (one(Outcome.ROLLED_BACK, exposed=False), End.STOPPED),
        (one(Outcome.FAILED, exposed=False), End.STOPPED),
        (one(Outcome.ABORTED), End.WITHDRAWN),
        (one(Outcome.REJECTED), End.WITHDRAWN),
        (one(Outcome.SUPERSEDED, exposed=False), End.WITHDRAWN),
        (one(Outcome.ABORTED, degraded=True), End.FAILED),
    ],
)
def test_how_each_outcome_counts(entry: Entry, end: End) -> None:
    assert ends_of([entry]) == {entry: end}


def test_the_failure_rate_is_of_deployments_whose_change_was_tested_by_users() -> None:
    found = figures(
        *(one() for _ in range(5)),
        one(Outcome.TRIED),
        one(Outcome.ROLLED_BACK),
        one(Outcome.FROZEN),
        one(Outcome.ROLLED_BACK, exposed=False),
        one(Outcome.ABORTED),
    )
    assert (found.failure_rate, found.deployments) == (2 / 8, 8)
    assert (found.ends[End.STOPPED], found.ends[End.WITHDRAWN], found.releases) == (1, 1, 10)


def test_only_releases_stopped_before_users_are_no_deployments() -> None:
    found = figures(one(Outcome.ROLLED_BACK, exposed=False))
    assert (found.releases, found.deployments, found.failure_rate) == (1, 0, None)
    assert found.restoring is None


def test_a_promoted_release_that_a_rollback_took_back_has_failed() -> None:
    first, bad = one(version="v2"), one(version="v3", stable="v2", ended=GOOD.ended)
    bad = bad._replace(began=first.began + 30 * MINUTE, ended=first.began + 40 * MINUTE)
    back = rollback(bad, timedelta(hours=2), took=3 * MINUTE)
    found = figures(back, bad, first)
    assert ends_of([back, bad, first]) == {bad: End.FAILED, first: End.PROMOTED}
    assert (found.promoted, found.failure_rate, found.rollbacks) == (2, 0.5, 1)
    assert found.restoring == Spread(3 * MINUTE, 3 * MINUTE, 1)


def test_a_rollback_of_a_rollback_undoes_no_release() -> None:
    bad = one()
    back = rollback(bad, MINUTE)
    again = rollback(back, MINUTE)
    assert ends_of([bad, back, again]) == {bad: End.FAILED}
    assert figures(bad, back, again).restoring == Spread(MINUTE, MINUTE, 1)


@pytest.mark.parametrize("differs", [{"service": "other"}, {"outcome": Outcome.ROLLED_BACK}])
def test_a_rollback_undoes_only_what_it_went_back_from(differs: dict[str, Any]) -> None:
    good = one()
    back = rollback(good, MINUTE)._replace(**differs)
    assert figures(good, back).failure_rate == 0


def test_time_to_restore_is_from_detection_to_all_users_back() -> None:
    began = GOOD.began
    slow = one(Outcome.ROLLED_BACK, detected=began, restored=began + 9 * MINUTE)
    found = figures(one(Outcome.ROLLED_BACK), slow, one(Outcome.ABORTED, detected=began, restored=began))
    assert found.restoring == Spread(5 * MINUTE, 9 * MINUTE, 2)
    assert found.unrestored == 0


def test_what_is_not_restored_yet_is_said_and_has_no_time() -> None:
    found = figures(one(Outcome.FROZEN, detected=GOOD.began))
    assert (found.restoring, found.unrestored) == (None, 1)


@pytest.mark.parametrize(
    ("minutes", "median", "p90"),
    [([1], 1, 1), ([1, 2], 1.5, 2), (range(1, 11), 5.5, 9), ([3, 1, 2], 2, 3)],
)
def test_a_spread_is_the_median_and_what_nine_in_ten_do_not_exceed(
    minutes: list[int], median: float, p90: int
) -> None:
    assert Spread.over([number * MINUTE for number in minutes]) == (
        Spread(median * MINUTE, p90 * MINUTE, len(minutes))
    )


def test_figures_of_services_add_up() -> None:
    entries = [one(), one(Outcome.ROLLED_BACK), one(service="wing"), one(Outcome.FROZEN, service="wing")]
    back = rollback(entries[2], MINUTE)
    parts = [tally_of(entries[:2], SINCE, NOW), tally_of([*entries[2:], back], SINCE, NOW)]
    assert Tally.over(parts).figures(NOW - SINCE) == figures(*entries, back)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *[(0, "0.0 s"), (4.46, "4.5 s"), (89, "89 s"), (90, "1.5 min"), (5399, "90 min"), (5400, "1.5 h")],
        *[(2 * 86_400, "2.0 d"), (12.4 * 86_400, "12 d")],
    ],
)
def test_durations_are_told_in_few_characters(seconds: float, told: str) -> None:
    assert rounded(timedelta(seconds=seconds)) == told
