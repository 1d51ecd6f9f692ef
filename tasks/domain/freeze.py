"""When nothing is released: weekly hours, days of the year, and holidays."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from tasks.domain.parts import Part
from tasks.domain.schedule import TimeZone

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WHEN = "'fri 16:00..mon 06:00' or '2026-12-20..2027-01-02', also with hours"
_WEEKLY = re.compile(r"(?P<day>[a-z]{3})\w* (?P<time>\d\d:\d\d)")
_DATED = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)( (?P<time>\d\d:\d\d))?")
_WEEK = 7 * 24 * 60
"""Minutes in a week."""


def _readable(when: str) -> str:
    try:
        _read(when)
    except ValueError as error:
        msg = f"found {when!r}, expected {WHEN}"
        raise ValueError(msg) from error
    return when


class Freeze(Part):
    """A time in which nothing is started; what runs goes on to its end.

    Both ends are read on the wall's clock, so a window that holds an hour which clocks repeat or
    leave out is longer or shorter by it. The first moment belongs to it, the last does not.
    """

    when: Annotated[str, AfterValidator(_readable)]
    """Every week (``fri 16:00..mon 06:00``), or once (``2026-12-20..2027-01-02``, both days included;
    ``2026-12-20 16:00..2027-01-02 06:00``)."""
    timezone: TimeZone | None = None
    """Whose clock that is; the night's own where it is left out."""
    reason: str = ""
    """Why, for the report."""
    services: tuple[str, ...] = ()
    """Only these services; all where it is left out."""

    def holds(self, at: datetime, zone: ZoneInfo) -> bool:
        """Whether *at* (aware) lies in it.

        Args:
            zone: Whose clock counts where the window has none of its own.
        """
        local = at.astimezone(ZoneInfo(self.timezone) if self.timezone else zone).replace(tzinfo=None)
        start, end = _read(self.when)
        if isinstance(start, int) and isinstance(end, int):
            minute = local.weekday() * 24 * 60 + local.hour * 60 + local.minute
            return (minute - start) % _WEEK < (end - start) % _WEEK
        return isinstance(start, datetime) and isinstance(end, datetime) and start <= local < end

    def __str__(self) -> str:
        return f"{self.when} ({self.reason})" if self.reason else self.when


def _read(when: str) -> tuple[int, int] | tuple[datetime, datetime]:
    """Minutes of the week, or moments on the wall's clock.

    Raises:
        ValueError: Neither, or an end that is not after its start; not retried.
    """
    start, dots, end = when.partition("..")
    weekly = _WEEKLY.fullmatch(start), _WEEKLY.fullmatch(end)
    if weekly[0] and weekly[1]:
        first, last = _minute(weekly[0]), _minute(weekly[1])
        if first == last:
            raise ValueError(when)
        return first, last
    dated = _DATED.fullmatch(start), _DATED.fullmatch(end)
    if not dots or not dated[0] or not dated[1]:
        raise ValueError(when)
    since = datetime.fromisoformat(f"{dated[0]['date']}T{dated[0]['time'] or '00:00'}")
    until = datetime.fromisoformat(f"{dated[1]['date']}T{dated[1]['time'] or '00:00'}")
    until += timedelta(0 if dated[1]["time"] else 1)
    if until <= since:
        raise ValueError(when)
    return since, until


def _minute(match: re.Match[str]) -> int:
    clock = time.fromisoformat(match["time"])
    return DAYS.index(match["day"]) * 24 * 60 + clock.hour * 60 + clock.minute


class Holidays(Part):
    """Days on which nothing is started: a country's public holidays, and own ones."""

    country: str | None = Field(None, pattern=r"^[A-Z]{2}$")
    """ISO code, as in ``DE``."""
    subdivision: str | None = None
    """State, canton or province, as in ``BE``."""
    dates: tuple[date, ...] = ()
    """Own days."""

    @model_validator(mode="after")
    def _known(self) -> Holidays:
        import holidays  # noqa: PLC0415 - few processes need it

        if self.country is None:
            if self.subdivision is not None:
                msg = f"found subdivision {self.subdivision!r} without country, expected both"
                raise ValueError(msg)
            return self
        known = holidays.list_supported_countries(include_aliases=True)
        if self.country not in known:
            msg = (
                f"country: found {self.country!r}, expected the code of a country with a calendar, as in 'DE'"
            )
            raise ValueError(msg)
        if self.subdivision is not None and self.subdivision not in known[self.country]:
            choices = ", ".join(known[self.country]) or "none: this country has none"
            msg = f"subdivision: found {self.subdivision!r}, expected one of {choices}"
            raise ValueError(msg)
        return self

    def name_of(self, day: date) -> str:
        """What *day* is called; empty for one that is no holiday."""
        if day in self.dates:
            return "a day of the calendar's own"
        if self.country is None:
            return ""
        import holidays  # noqa: PLC0415 - few processes need it

        calendar = holidays.country_holidays(self.country, subdiv=self.subdivision, years=day.year)
        return str(calendar.get(day, ""))
