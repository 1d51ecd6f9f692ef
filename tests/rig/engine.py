"""Prefect's real engine for tests: a server of the test session's own, on a database of its own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness

_STARTED = pytest.StashKey[bool]()


def start_engine(config: pytest.Config) -> None:
    """Start it once in a test session, which ends it; it takes about ten seconds.

    Without heartbeats, for whose thread each flow would wait a second.
    """
    if config.stash.get(_STARTED, False):
        return
    stack = ExitStack()
    stack.enter_context(prefect_test_harness(server_startup_timeout=120))
    stack.enter_context(temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
    config.add_cleanup(stack.close)
    config.stash[_STARTED] = True
