"""When nothing is started: weekly hours, days, holidays, in their own time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.domain.freeze import Freeze, Holidays
from tasks.domain.nightly import Night, NightlyService

BERLIN = ZoneInfo("Europe/Berlin")
WEEKEND = Freeze(when="fri 16:00..mon 06:00", reason="nobody is there")


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("at", "frozen"),
    [
        ("2026-11-27T15:59", False),
        ("2026-11-27T16:00", True),
        ("2026-11-28T12:00", True),
        ("2026-11-30T05:59", True),
        ("2026-11-30T06:00", False),
        ("2026-12-02T12:00", False),
    ],
)
def test_a_weekly_window_runs_over_the_end_of_the_week(at: str, *, frozen: bool) -> None:
    assert WEEKEND.holds(berlin(at), BERLIN) is frozen


def test_a_window_reads_its_own_clock_or_else_the_night_s() -> None:
    at = datetime(2026, 11, 27, 15, 30, tzinfo=UTC)
    assert WEEKEND.holds(at, BERLIN)
    assert not WEEKEND.holds(at, ZoneInfo("UTC"))
    assert WEEKEND.model_copy(update={"timezone": "Europe/Berlin"}).holds(at, ZoneInfo("UTC"))


def test_a_window_s_hours_are_those_of_the_wall_when_clocks_change() -> None:
    window = Freeze(when="sun 02:00..sun 03:00")
    assert window.holds(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), BERLIN)
    assert window.holds(datetime(2026, 10, 25, 1, 30, tzinfo=UTC), BERLIN), "the hour that comes twice"
    assert not window.holds(datetime(2026, 10, 25, 2, 0, tzinfo=UTC), BERLIN)
    assert not window.holds(datetime(2027, 3, 28, 1, 0, tzinfo=UTC), BERLIN), "the hour that is left out"


@given(st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)))  # noqa: DTZ001 - made aware below
def test_a_week_is_either_in_a_window_or_in_its_rest(at: datetime) -> None:
    rest = Freeze(when="mon 06:00..fri 16:00")
    aware = at.replace(tzinfo=UTC)
    assert WEEKEND.holds(aware, BERLIN) != rest.holds(aware, BERLIN)


@pytest.mark.parametrize(
    ("when", "at", "frozen"),
    [
        ("2026-12-20..2027-01-02", "2026-12-20T00:00", True),
        ("2026-12-20..2027-01-02", "2027-01-02T23:59", True),
        ("2026-12-20..2027-01-02", "2027-01-03T00:00", False),
        ("2026-12-20 16:00..2027-01-02 06:00", "2026-12-20T15:59", False),
        ("2026-12-20 16:00..2027-01-02 06:00", "2027-01-02T06:00", False),
        ("2026-12-24..2026-12-24", "2026-12-24T12:00", True),
    ],
)
def test_days_are_frozen_with_both_ends_and_hours_without_the_last(
    when: str, at: str, *, frozen: bool
) -> None:
    assert Freeze(when=when).holds(berlin(at), BERLIN) is frozen


@pytest.mark.parametrize(
    "when",
    ["", "fri", "fri 16:00", "fri 16:00..fri 16:00", "fry 16:00..mon 06:00", "fri 25:00..mon 06:00",
     "2026-12-20", "2026-12-20..2026-12-19", "2026-13-20..2027-01-02", "fri 16:00..2026-12-20"],
)  # fmt: skip
def test_a_window_that_is_none_is_refused(when: str) -> None:
    with pytest.raises(ValidationError, match=r"expected 'fri 16:00\.\.mon 06:00' or") as caught:
        Night.model_validate({"freeze": [{"when": when}]})
    assert [one["loc"] for one in caught.value.errors()] == [("freeze", 0, "when")]


def test_holidays_are_a_country_s_and_a_state_s_and_own_days() -> None:
    holidays = Holidays.model_validate({"country": "DE", "subdivision": "BE", "dates": ["2026-12-24"]})
    assert holidays.name_of(datetime(2026, 3, 8).date()), "a holiday in Berlin"  # noqa: DTZ001
    assert not Holidays(country="DE", subdivision="BY").name_of(datetime(2026, 3, 8).date())  # noqa: DTZ001
    assert holidays.name_of(datetime(2026, 12, 24).date())  # noqa: DTZ001
    assert not holidays.name_of(datetime(2026, 12, 23).date())  # noqa: DTZ001


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"country": "XX"}, "country: found 'XX', expected the code of a country"),
        ({"country": "DE", "subdivision": "QQ"}, "subdivision: found 'QQ', expected one of"),
        ({"subdivision": "BE"}, "without country"),
        ({"dates": ["christmas"]}, "dates"),
    ],
)
def test_a_calendar_that_nobody_knows_is_refused(content: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Holidays.model_validate(content)


def test_a_night_says_why_a_service_must_not_be_started() -> None:
    night = Night.model_validate(
        {
            "timezone": "Europe/Berlin",
            "freeze": [{"when": "fri 16:00..mon 06:00", "reason": "weekend", "services": ["shop"]}],
            "holidays": {"country": "DE"},
        }
    )
    friday = berlin("2026-11-27T23:30")
    assert night.frozen("shop", friday) == "frozen time: fri 16:00..mon 06:00 (weekend)"
    assert night.frozen("cart", friday) == ""
    new_year = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    assert night.frozen("cart", new_year).startswith("holiday: 2027-01-01, "), "it is already next year there"


def test_a_service_in_two_waves_is_refused() -> None:
    with pytest.raises(ValidationError, match="found shop more than once"):
        Night.model_validate({"waves": [["shop"], ["cart", "shop"]]})


@pytest.mark.parametrize("key", ["service", "strategy"])
def test_something_that_is_no_service_file_is_refused(key: str) -> None:
    content = {"service": "shop", "strategy": "rolling"}
    del content[key]
    with pytest.raises(ValidationError, match=f"{key}: found None, expected a service file's content"):
        NightlyService.model_validate({"service": content, "versions": {"kind": "file", "path": "V"}})
