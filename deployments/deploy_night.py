"""The nights of a folder on Prefect: one deployment, started at every schedule that its service files have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployments.deploy_difference import NOTHING_PULLED, Wanted
from deployments.nightly import load_night, to_nightly
from tasks.domain.errors import InputError
from tasks.domain.nightly import NightlyService
from tasks.domain.schedule import Schedule
from tasks.domain.spec import ServiceFile

FLOW = "nightly"
ENTRYPOINT = "flows.nightly.nightly"
FORM: dict[str, Any] = {"title": "Parameters", "type": "object", "properties": {}}
"""A night that a person starts takes all services of the deployment: there is nothing to fill in."""


def night_of(
    folder: Path, loaded: Mapping[Path, ServiceFile], tags: Sequence[str], pool: str | None
) -> list[Wanted]:
    """The folder's nightly deployment; none where no service file has a `schedule`.

    Raises:
        InputError: ``night.yaml`` is wrong, or the folder has a name that is no deployment's; not retried.
    """
    services = [
        to_nightly(service, service.versions, service.schedule, path.parent)
        for path, service in loaded.items()
        if service.schedule and service.versions
    ]
    night = load_night(folder)
    if not services:
        return []
    name = folder.resolve().name
    if name == "davy" or not re.fullmatch(r"[^/%&<>]+", name):
        raise InputError("folder", name, "a folder whose name can be the night's, other than 'davy'")
    parameters = {
        "services": [one.model_dump(mode="json") for one in services],
        "night": night.model_dump(mode="json"),
    }
    content = {
        "name": name,
        "entrypoint": ENTRYPOINT,
        "parameters": parameters,
        "parameter_openapi_schema": FORM,
        "enforce_parameter_schema": True,
        "description": _description(services),
        "tags": sorted(tags),
        "work_pool_name": pool,
        "pull_steps": NOTHING_PULLED if pool else None,
        "schedules": [_start(schedule) for schedule in _schedules(services)],
    }
    return [Wanted(FLOW, name, content)]


def _schedules(services: Sequence[NightlyService]) -> list[Schedule]:
    """Each once, in the order of the service files."""
    return list(dict.fromkeys(one.schedule for one in services if one.schedule))


def _start(schedule: Schedule) -> dict[str, Any]:
    """A start of the deployment, for the services of one schedule."""
    return {
        "schedule": {"cron": schedule.cron, "timezone": schedule.timezone},
        "active": True,
        "parameters": {"schedule": schedule.model_dump(mode="json")},
        "slug": f"night-{hashlib.sha256(str(schedule).encode()).hexdigest()[:8]}",
    }


def _description(services: Sequence[NightlyService]) -> str:
    """What the deployment's page says, as markdown."""
    lines = [
        f"- {schedule}: {', '.join(one.name for one in services if one.schedule == schedule)}"
        for schedule in _schedules(services)
    ]
    return "\n".join(["Finds each service's newest version and releases what is new, in waves.", "", *lines])
