"""Nights on Prefect's real engine, each on a day of its own, and what they leave on record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.nightly import nightly
from tasks.domain.nightly import Night, NightlyService
from tasks.domain.schedule import Schedule
from tasks.nights.book import NightRecord, nights, read_night
from tests.rig.carrier import Carrier, carrying
from tests.rig.engine import run_as_scheduled, start_engine

DAYS = count()
"""Each test has a day of its own: they share a server, and a version is released once a day."""


@pytest.fixture
def carrier(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """Carries out what nights ask for; a service's stable version is what it has promoted."""
    start_engine(request)
    del home
    monkeypatch.setattr("flows.waves.POLL", 0.02)
    # A server on SQLite says 503 now and then; it need not be given seconds.
    monkeypatch.setattr("prefect.client.base.clamped_poisson_interval", lambda *_: 0.05)
    with carrying("rolling/davy") as made:
        monkeypatch.setattr("tasks.nightly.find_stable", lambda file: (made.revision(file.service), 2))
        yield made


@pytest.fixture
def at() -> datetime:
    """When the test's night begins."""
    return datetime(2026, 1, 7, 1, 0, tzinfo=UTC) + timedelta(days=next(DAYS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where each service's newest version stands, in a file of its name."""
    return tmp_path


def service(carrier: Carrier, folder: Path, name: str, version: str = "1.1.0", **more: Any) -> NightlyService:  # noqa: ANN401
    """A service whose users are on 1.0.0, and whose newest version is *version*."""
    carrier.stable.setdefault(name, "1.0.0")
    (folder / name).write_text(f"{version}\n")
    content = {
        "service": name,
        "strategy": "rolling",
        "fleet": {"kind": "local", "command": "serve"},
        "router": {"kind": "envoy", "port": 8080},
    }
    versions = {"kind": "file", "path": str(folder / name)}
    return NightlyService.model_validate({"service": content, "versions": versions, **more})


def run(
    services: list[NightlyService],
    at: datetime,
    schedule: Schedule | None = None,
    **night: Any,  # noqa: ANN401
) -> State[None]:
    """Start a night as Prefect does, for the time that it is scheduled for."""
    parameters = {
        "services": [one.model_dump(mode="json") for one in services],
        "night": Night.model_validate(night).model_dump(mode="json"),
        "schedule": schedule.model_dump(mode="json") if schedule else None,
    }
    return run_as_scheduled(nightly, parameters, at)


def record() -> NightRecord:
    """The only night's record."""
    (path,) = nights().glob("*.json")
    return read_night(path)
