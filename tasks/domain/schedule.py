"""When something starts by itself: cron in a time zone, and what that means where clocks change."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, field_validator

from tasks.domain.parts import Part

FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
"""Cron's fields, in their order."""
EXAMPLE = "'30 2 * * 1-5' (minute, hour, day of month, month, day of week)"
_UNSUPPORTED = re.compile(r"LW|\dL|W", re.IGNORECASE)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        msg = f"found {name!r}, expected a time zone such as 'Europe/Berlin'"
        raise ValueError(msg) from None
    return name


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""Name of a time zone in the IANA database."""


class Schedule(Part):
    """When a service is looked at for a new version, as Prefect plans it.

    Where clocks are put forward, a time that does not exist comes as much later; where they are put
    back, a time that comes twice is taken the first time. So a time of day comes exactly once a day.
    """

    cron: str
    """Five fields: minute, hour, day of month, month, day of week."""
    timezone: TimeZone = Field("UTC", validate_default=False)
    """Whose clock `cron` reads."""

    @field_validator("cron")
    @classmethod
    def _readable(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != len(FIELDS):
            msg = f"found {cron!r} with {len(fields)} field(s), expected five, as in {EXAMPLE}"
            raise ValueError(msg)
        try:
            next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            number = _field_of(str(error))
            found = f"{fields[number]!r} as {FIELDS[number]}" if number is not None else repr(cron)
            msg = f"found {found}, expected one that cron knows, as in {EXAMPLE}"
            raise ValueError(msg) from error
        except StopIteration:
            msg = f"found {cron!r}, which never comes, expected times that come, as in {EXAMPLE}"
            raise ValueError(msg) from None
        if odd := _UNSUPPORTED.search(re.sub(r"[a-z]{3}", "", cron, flags=re.IGNORECASE)):
            msg = f"found {odd[0]!r} in {cron!r}, expected cron without it, as in {EXAMPLE}"
            raise ValueError(msg)
        return " ".join(fields)

    @property
    def zone(self) -> ZoneInfo:
        """Whose clock `cron` reads."""
        return ZoneInfo(self.timezone)

    def __str__(self) -> str:
        return f"{self.cron} {self.timezone}"


def _field_of(message: str) -> int | None:
    """Which field a message such as ``Bad day-of-month`` is about."""
    named = [number for number, name in enumerate(FIELDS) if message.endswith(f" {name}")]
    return named[0] if named else None
