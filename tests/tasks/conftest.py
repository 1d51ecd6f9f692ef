"""A fleet, a router and metrics in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.fakes import make_world
from tests.rig.world import World


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three stable replicas."""
    del home
    made = make_world(monkeypatch)
    made.have_stable(3)
    return made
