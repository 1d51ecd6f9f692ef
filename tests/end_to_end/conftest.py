"""One embedded stack for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.stack import Davy

LONGEST = 600
"""Seconds that a module's scene may take on a busy machine, as its first test's set-up."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each test here the time that its module's scene may need."""
    if "davy" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.timeout(LONGEST))


@pytest.fixture(scope="session")
def davy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Davy]:
    """The stack, up; at the end it goes down and leaves nothing running."""
    davy = Davy.in_folder(tmp_path_factory.mktemp("e2e"))
    try:
        up = davy.run("up")
        assert up.code == 0, up
        yield davy
    finally:
        down = davy.run("down")
        left = davy.processes()
    assert (down.code, left) == (0, []), down
