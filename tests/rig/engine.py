"""Prefect's real engine for tests: a server of the test session's own, on a database of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import patch

import pytest
from prefect import Flow, get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings
from prefect.states import Scheduled
from prefect.testing.utilities import prefect_test_harness

from tests.rig.stack import ROOT

_STARTED = pytest.StashKey[bool]()


def start_engine(request: pytest.FixtureRequest) -> None:
    """Start it once in a test session, which ends it; it takes about five seconds.

    Without heartbeats, for whose thread each flow would wait a second.
    """
    if request.config.stash.get(_STARTED, False):
        return
    migrated = migrated_database(request.getfixturevalue("tmp_path_factory"))

    def folder_with_database() -> str:
        folder = mkdtemp()
        shutil.copy(migrated, Path(folder) / "prefect-test.db")
        return folder

    stack = ExitStack()
    with (
        patch("prefect.testing.utilities.mkdtemp", folder_with_database),
        patch.object(SubprocessASGIServer, "_run_uvicorn_command", start_server),
    ):
        stack.enter_context(prefect_test_harness(server_startup_timeout=120))
    stack.enter_context(temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
    request.config.add_cleanup(stack.close)
    request.config.stash[_STARTED] = True


def start_server(server: SubprocessASGIServer) -> subprocess.Popen[bytes]:
    """As Prefect's harness starts it, but with writers that take turns: `prefect_app`."""
    app = [sys.executable, "-m", "uvicorn", "--factory", "tests.rig.prefect_app:create_app"]
    options = [f"--port={server.port}", "--log-level=error", "--lifespan=on"]
    kind = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    chosen = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen([*app, *options], cwd=ROOT, env=os.environ | kind | chosen)


def run_as_scheduled(
    flow: Flow[..., Any], parameters: dict[str, Any], at: datetime | None = None
) -> State[Any]:
    """Run a flow on the engine as a runner does.

    Args:
        at: When it is scheduled for; now where that is None.
    """
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(
            flow, parameters=parameters, state=Scheduled(scheduled_time=at or datetime.now(UTC))
        )
    state = run_flow(flow, flow_run=made, parameters=parameters, return_type="state")
    assert isinstance(state, State)
    return state


def migrated_database(folders: pytest.TempPathFactory) -> Path:
    """A database of SQLite with Prefect's tables, to be copied: to make them takes most of a server's first start.

    Made once for all workers of a test session.
    """
    shared = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    database = shared / "prefect.db"
    with (shared / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            unfinished = shared / "unfinished.db"
            own = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{unfinished}"}
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            subprocess.run(command, env=os.environ | own, check=True, capture_output=True, timeout=180)
            assert not unfinished.with_name("unfinished.db-wal").exists()
            unfinished.rename(database)
    return database
