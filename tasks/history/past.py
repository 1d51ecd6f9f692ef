"""What is told of the past: releases, figures by service and over all, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.history.entry import Entry, Unreadable
from tasks.history.figures import Figures, Tally, tally_of
from tasks.history.index import Found


@dataclass(frozen=True)
class History:
    """Past releases of one service or of all.

    Attributes:
        since: The figures are over releases that ended from here to `until`, aware UTC.
        entries: Those, and those that still run, newest first.
        unreadable: Journals that can't be read, of any time.
        services: The figures of each service that has an entry.
        overall: The figures over all of them.
    """

    since: datetime
    until: datetime
    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...]
    services: Mapping[str, Figures]
    overall: Figures

    @property
    def is_empty(self) -> bool:
        """Nothing ended in its span."""
        return not self.overall.releases and not self.overall.rollbacks

    def to_json(self, limit: int) -> dict[str, Any]:
        """For ``--json``, with the newest *limit* releases."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "figures": {
                "all": self.overall.to_json(),
                "services": {name: figures.to_json() for name, figures in self.services.items()},
            },
            "releases": [entry.to_json() for entry in self.entries[:limit]],
            "unreadable": [one.to_json() for one in self.unreadable],
        }


def history_of(found: Found, since: datetime, until: datetime) -> History:
    """The figures over what was found, by service and over all."""
    by_service: dict[str, list[Entry]] = {}
    for entry in found.entries:
        by_service.setdefault(entry.service, []).append(entry)
    tallies = {name: tally_of(of_it, since, until) for name, of_it in sorted(by_service.items())}
    services = {name: tally.figures(until - since) for name, tally in tallies.items()}
    overall = Tally.over(tallies.values()).figures(until - since)
    return History(since, until, found.entries, found.unreadable, services, overall)
