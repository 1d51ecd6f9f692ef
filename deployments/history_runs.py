"""Runs that ended before they opened a release: refused, or crashed. Only Prefect's server knows of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from deployments.prefect_api import api_url, credentials
from tasks.journal import journal_of

WITHIN = timedelta(seconds=3)
"""How long the server may take; a history does not wait for one that is away."""
MOST = 200
"""Runs that the server gives in one answer."""


@dataclass(frozen=True)
class EndedRun:
    """A flow run without a release.

    Attributes:
        service: Empty where its parameters name none.
        ended: When it ended, aware UTC.
    """

    run: str
    service: str
    version: str
    ended: datetime
    state: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "ended": self.ended.isoformat()}


def ended_runs(service: str | None, since: datetime) -> tuple[EndedRun, ...] | None:
    """The newest runs of Davy's deployments that ended since then and have no journal; newest first.

    Args:
        service: None for all.

    Returns:
        None where the server does not answer, or is not Prefect's.

    Raises:
        InputError: ``PREFECT_API_AUTH_STRING`` is no user and password; not retried.
    """
    asked = {
        "sort": "END_TIME_DESC",
        "limit": MOST,
        "deployments": {"name": {"any_": ["davy"]}},
        "flow_runs": {
            "state": {"type": {"any_": ["FAILED", "CRASHED", "CANCELLED"]}},
            "end_time": {"after_": since.isoformat()},
        },
    }
    try:
        answer = httpx.post(
            f"{api_url()}/flow_runs/filter", json=asked, timeout=WITHIN.total_seconds(), auth=credentials()
        )
        found = list(_without_journal(answer.raise_for_status().json()))
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return tuple(one for one in found if service in (None, one.service))


def _without_journal(runs: list[dict[str, Any]]) -> Iterator[EndedRun]:
    for run in runs:
        parameters, state = run["parameters"], run["state"]
        file = parameters.get("service", "")
        service = str(file.get("service", "") if isinstance(file, dict) else file)
        release = parameters.get("release") or f"{service}-{run['id'][:8]}"
        if not journal_of(service, release).path.is_file():
            ended = datetime.fromisoformat(run["end_time"])
            message = " ".join((state.get("message") or "").split())
            yield EndedRun(
                run["id"], service, str(parameters.get("version", "")), ended, state["name"], message
            )
