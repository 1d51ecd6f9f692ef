"""A fleet, a router and their history in memory, in which the flows release; and the nights' carrier, day and folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.nights import at, carrier, folder
from tests.rig.bare import without_engine
from tests.rig.engine import start_engine
from tests.rig.fakes import make_world
from tests.rig.world import World

__all__ = ["at", "carrier", "folder"]


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Four stable replicas; flows and tasks run as plain functions, with clocks that run fast."""
    del home
    without_engine(monkeypatch)
    made = make_world(monkeypatch)
    made.have_stable(4)
    return made


@pytest.fixture
def prefect_world(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> World:
    """Two stable replicas; flows and tasks run in Prefect's engine, with a server."""
    start_engine(request)
    del home
    monkeypatch.setattr("tasks.promotion._answer", lambda _url, _timeout: "200")
    monkeypatch.setattr("tasks.traffic.POLL", 0.001)
    made = make_world(monkeypatch)
    made.have_stable(2)
    return made
