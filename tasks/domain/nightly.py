"""A night: which services are looked at, when nothing is started, and how many releases at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from tasks.domain.freeze import Freeze, Holidays
from tasks.domain.notices import Notices
from tasks.domain.parts import Part, PositiveDuration
from tasks.domain.schedule import Schedule, TimeZone
from tasks.domain.versions import Versions


class NightlyService(Part):
    """A service of the nightly releases."""

    service: dict[str, Any]
    """Its service file's content."""
    versions: Versions
    """Where its new versions are found."""
    schedule: Schedule | None = None
    """When it is looked at; None for whenever anything is."""

    @property
    def name(self) -> str:
        """The service's name."""
        return str(self.service["service"])

    @field_validator("service")
    @classmethod
    def _named(cls, service: dict[str, Any]) -> dict[str, Any]:
        for key in ("service", "strategy"):
            if not isinstance(service.get(key), str):
                msg = f"{key}: found {service.get(key)!r}, expected a service file's content"
                raise ValueError(msg)  # noqa: TRY004 - pydantic reports only these by field
        return service


class Night(Part):
    """How the releases of a night are let loose: ``night.yaml`` beside the service files."""

    max_at_once: int = Field(2, ge=1)
    """How many releases may run at the same time."""
    stop_after_failures: int = Field(3, ge=1)
    """After so many releases that were not promoted nothing more is started; what runs goes on."""
    release_within: PositiveDuration = timedelta(hours=6)
    """A release that has not ended by then, as one that waits for an approval, is left to itself and
    counts as one that failed."""
    timezone: TimeZone = Field("UTC", validate_default=False)
    """Whose calendar names the night, and whose clock the freeze windows read."""
    freeze: tuple[Freeze, ...] = ()
    """When nothing is started."""
    holidays: Holidays = Holidays()
    """Days on which nothing is started."""
    notify: Notices = ()
    """Who is told of the night, by one digest when it is over; ``on`` does not count."""
    waves: tuple[tuple[str, ...], ...] = ()
    """Services by name: a wave begins when all releases of the one before have ended. Services that
    are in no wave come last, together."""

    @field_validator("waves")
    @classmethod
    def _once(cls, waves: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        names = [name for wave in waves for name in wave]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            msg = f"found {', '.join(twice)} more than once, expected each service in one wave"
            raise ValueError(msg)
        return waves

    @property
    def zone(self) -> ZoneInfo:
        """Whose calendar names the night."""
        return ZoneInfo(self.timezone)

    def frozen(self, service: str, at: datetime) -> str:
        """Why *service* must not be started at *at* (aware); empty when it may.

        Holidays are days of the night's own time zone.
        """
        for window in self.freeze:
            if (not window.services or service in window.services) and window.holds(at, self.zone):
                return f"frozen time: {window}"
        day = at.astimezone(self.zone).date()
        name = self.holidays.name_of(day)
        return f"holiday: {day}, {name}" if name else ""
