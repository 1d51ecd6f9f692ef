"""One service in a night: what was found, what was decided and why, and how it went."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from tasks.domain.model import Outcome
from tasks.domain.parts import Part


class Decision(StrEnum):
    """What is done with a service in a night."""

    RELEASE = "release"
    LEAVE_OUT = "leave out"
    UNKNOWN = "unknown"


GOOD = (Outcome.PROMOTED, Outcome.TRIED)
"""Outcomes of a release that do not count to the stop."""


class Entry(Part):
    """One service in a night, at one moment."""

    service: str
    decision: Decision
    reason: str
    """Why, in words."""
    stable: str = ""
    """The version that users were on; empty for none, or one that could not be known."""
    found: str = ""
    """The newest version; empty for none."""
    digest: str = ""
    """What exactly the newest version is; empty where its source can't tell."""
    release: str = ""
    """The release's id, which is its run's idempotency key, too."""
    began: datetime | None = None
    """When the release was about to be asked for (aware UTC)."""
    run: str = ""
    """The release's flow run."""
    url: str = ""
    """The run's page."""
    ended: datetime | None = None
    """When it was seen that it had ended."""
    outcome: str = ""
    """How it ended, as its journal or its run has it."""
    message: str = ""
    """The same in words."""

    @property
    def waits(self) -> bool:
        """Its release is still to be started."""
        return self.decision is Decision.RELEASE and self.began is None

    @property
    def runs(self) -> bool:
        """Its release has been started and has not ended."""
        return self.began is not None and self.ended is None

    @property
    def failed(self) -> bool:
        """Its release ended in any other way than well."""
        return self.ended is not None and self.outcome not in GOOD

    @property
    def took(self) -> timedelta | None:
        """How long its release ran."""
        return self.ended - self.began if self.began and self.ended else None

    def left_out(self, reason: str) -> Entry:
        """The same service, not released after all."""
        return self.model_copy(update={"decision": Decision.LEAVE_OUT, "reason": reason})

    def over(self, at: datetime, outcome: str, message: str) -> Entry:
        """The same service, whose release has ended."""
        return self.model_copy(update={"ended": at, "outcome": outcome, "message": message})
