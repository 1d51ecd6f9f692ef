"""A release that goes on now, and how a test says whom to tell."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from tasks.domain.model import Outcome, Revision, Slot, Split, Traffic
from tasks.domain.notices import Email, Notices, Slack, Webhook
from tasks.journal import Journal, journal_of
from tasks.notify.base import Links
from tasks.record import Opening, Record, traffic_to_json
from tests.rig.fakes import make_service

CANARY = "xoxb-planted-secret-4711"
"""The one secret that there is: to be found nowhere but where it is sent."""
SOON = timedelta(seconds=30)
"""How long anything may take on a machine that is busy."""
LINKS = Links(
    lambda run: f"https://prefect.example/run/{run}", lambda record: f"https://davy.example/{record.release}"
)
_notices: TypeAdapter[tuple[Slack | Email | Webhook, ...]] = TypeAdapter(Notices)


def notices(*contents: dict[str, Any]) -> tuple[Slack | Email | Webhook, ...]:
    """As a service file has them."""
    return _notices.validate_python(contents)


def by_slack(api: str, **more: object) -> dict[str, Any]:
    return {"kind": "slack", "channel": "#releases", "token": {"env": "T"}, "api": api, **more}


def by_webhook(url: str, **more: object) -> dict[str, Any]:
    return {"kind": "webhook", "url": url, **more}


class Releasing:
    """A canary of shop 2.0, stable is 1.9."""

    def __init__(self, release: str = "shop-2.0-r1", **service: Any) -> None:  # noqa: ANN401 - as a file has it
        self.journal: Journal = journal_of("shop", release)
        stable = Revision("shop", Slot.BLUE, "1.9")
        opening = Opening("canary", make_service("canary", **service), "2.0", stable, 4)
        self.journal.append("opened", **opening.to_json())
        self.journal.append("run", id="run-1")

    @property
    def record(self) -> Record:
        """As it stands."""
        return Record.read(self.journal)

    def live(self, **shares: int) -> None:
        """A split in percent."""
        split = Split({Slot(slot): 100 * percent for slot, percent in shares.items()})
        self.journal.append("asked", **traffic_to_json(Traffic(split)))
        self.journal.append("live", split=split.to_json())

    def gate(self) -> None:
        """It waits for a person."""
        self.live(candidate=25, blue=75)
        self.journal.append("gate", "25%", deadline="2030-01-01T03:40:00+00:00", plan="p", images=[])

    def back(self, reason: str = "error_rate of candidate was 5 %") -> None:
        """It goes back, to the end."""
        self.journal.append("reverting", reason=reason, outcome=Outcome.ROLLED_BACK, by="guard")
        self.live(blue=100)
        self.journal.append("ended", outcome=Outcome.ROLLED_BACK, message=reason)

    def promoted(self) -> None:
        """It ends well."""
        self.live(green=100)
        self.journal.append("ended", outcome=Outcome.PROMOTED, message="shop Promoted: 2.0")


def await_that(true: Callable[[], object]) -> None:
    """Ask until it is true."""
    deadline = time.monotonic() + SOON.total_seconds()
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
