"""What every test may use."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.domain.settings import settings


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI a test that was skipped is one that is missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        reporter.write_line("Skipped on CI, which counts as failed; see above for what is missing.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own, with ports that are free now."""
    monkeypatch.setenv("DAVY_HOME", str(tmp_path / "davy"))
    for name in ("PREFECT", "SUPERVISOR", "ENVOY", "APPROVALS"):
        monkeypatch.setenv(f"DAVY_{name}_PORT", str(_free_port()))
    settings.cache_clear()
    yield settings().root
    settings.cache_clear()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a port of 127.0.0.1 that nothing listens on."""
    return _free_port


def _free_port() -> int:
    """Below the range that outgoing connections use, so that none of them takes it meanwhile."""
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
