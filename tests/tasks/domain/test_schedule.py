"""Cron in a time zone: real times, also where clocks change, and refusals that name the field."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from prefect.client.schemas.schedules import CronSchedule as AskedOfPrefect
from prefect.server.schemas.schedules import CronSchedule
from pydantic import ValidationError

from tasks.domain.schedule import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
HALF_PAST_TWO = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
FORWARD, BACK = datetime(2027, 3, 28, tzinfo=BERLIN), datetime(2026, 10, 25, tzinfo=BERLIN)
"""Days on which 02:30 does not exist, and comes twice."""


def of_prefect(schedule: Schedule, day: datetime, count: int) -> list[datetime]:
    """The times at which Prefect's server starts runs."""
    cron = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    return [at.astimezone(UTC) for at in asyncio.run(cron.get_dates(count, day - timedelta(hours=12)))]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_a_time_that_does_not_exist_comes_as_much_later() -> None:
    assert of_prefect(HALF_PAST_TWO, FORWARD, 2) == [utc(2027, 3, 28, 1, 30), utc(2027, 3, 29, 0, 30)]


def test_a_time_that_comes_twice_counts_the_first_time() -> None:
    assert of_prefect(HALF_PAST_TWO, BACK, 2) == [utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)]


@pytest.mark.parametrize("day", [FORWARD, BACK], ids=["forward", "back"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 2 * * *", "0 3 * * *", "59 1 * * *", "15 2 * * 0"])
def test_a_time_of_day_comes_once_a_day(day: datetime, cron: str) -> None:
    started = of_prefect(Schedule(cron=cron, timezone="Europe/Berlin"), day, 4)
    days = [at.astimezone(BERLIN).date() for at in started]
    assert all((later - sooner).days in (1, 7) for sooner, later in pairwise(days))


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("61 2 * * *", "found '61' as minute, expected"),
        ("0 25 * * *", "found '25' as hour, expected"),
        ("0 2 32 * *", "found '32' as day-of-month, expected"),
        ("0 2 * 13 *", "found '13' as month, expected"),
        ("0 2 * * 9", "found '9' as day-of-week, expected"),
        ("0 2 30 2 *", "found '30' as day-of-month, expected"),
        ("0 2 * *", "with 4 field(s), expected five"),
        ("0 0 2 * * *", "with 6 field(s), expected five"),
        ("@daily", "with 1 field(s), expected five"),
        ("0 2 LW * *", "found 'LW' in '0 2 LW * *', expected cron without it"),
        ("0 2 * * 5L", "found '5L' in '0 2 * * 5L', expected cron without it"),
        ("", "with 0 field(s), expected five"),
    ],
)
def test_a_cron_that_is_wrong_is_refused_at_its_field(cron: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Schedule(cron=cron)
    assert [one["loc"] for one in caught.value.errors()] == [("cron",)]
    assert said in str(caught.value)


@pytest.mark.parametrize("zone", ["Europe/Berlim", "", "../etc/passwd", "CEST+2!", "Europe"])
def test_a_time_zone_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(ValidationError, match="expected a time zone such as 'Europe/Berlin'") as caught:
        Schedule(cron="0 2 * * *", timezone=zone)
    assert [one["loc"] for one in caught.value.errors()] == [("timezone",)]


@pytest.mark.parametrize(
    "cron", ["0 2 * * 1-5", "30 2 * * mon-fri", "*/20 1-4 * * *", "0 2 L * *", "0 2 1,15 jan *", "0 2 * * 7"]
)
def test_what_is_accepted_here_prefect_accepts_too(cron: str) -> None:
    assert AskedOfPrefect(cron=Schedule(cron=cron).cron, timezone="Europe/Berlin")
