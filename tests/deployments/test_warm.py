"""Runs that are forked: each is a process of its own, told of and ended as one that was started cold."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from uuid import uuid4

import psutil
import pytest
from anyio import create_task_group
from anyio.abc import TaskGroup

from deployments.warm import PRELOADED, Run, begin, keep_warm
from tests.rig.stack import await_that


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server that has imported what the runner's has."""
    monkeypatch.setattr("prefect.runner._starter_engine.run_process", None)
    keep_warm()


@pytest.fixture
def silent() -> Iterator[str]:
    """An API that takes connections and never answers, so that a run stays where it begins."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


async def begun(group: TaskGroup, run: str, api: str = "") -> Run:
    """A run's process, as the runner gets to know it."""

    async def as_the_runner(*, task_status: object) -> None:
        environment = os.environ | {"PREFECT__FLOW_RUN_ID": run, "PREFECT_API_URL": api}
        await begin(
            ["python"],
            task_status=task_status,  # type: ignore[arg-type]
            task_status_handler=lambda process: process,
            env=environment,
            stream_output=True,
        )

    process: Run = await group.start(as_the_runner)
    return process


def await_title(process: int, title: str) -> None:
    await_that(lambda: psutil.Process(process).cmdline()[0] == title, what=title)


def test_a_run_that_cannot_begin_tells_its_code() -> None:
    async def main() -> Run:
        async with create_task_group() as group:
            return await begun(group, "none")

    assert asyncio.run(main()).returncode == 1


def test_runs_are_processes_of_their_own_and_a_killed_one_is_told(silent: str) -> None:
    names = [str(uuid4()), str(uuid4())]

    async def main() -> list[Run]:
        async with create_task_group() as group:
            runs = [await begun(group, name, silent) for name in names]
            for name, run in zip(names, runs, strict=True):
                await_title(run.pid, f"davy: flow run {name}")
            os.kill(runs[1].pid, signal.SIGKILL)
            await asyncio.sleep(0.5)
            assert [run.returncode for run in runs] == [None, -signal.SIGKILL]
            os.kill(runs[0].pid, signal.SIGTERM)
        return runs

    assert [run.returncode for run in asyncio.run(main())] == [-signal.SIGTERM, -signal.SIGKILL]


def test_a_runner_that_ends_ends_its_runs(silent: str) -> None:
    async def main() -> Run:
        async with create_task_group() as group:
            run = await begun(group, str(uuid4()), silent)
            group.cancel_scope.cancel()
        return run

    assert asyncio.run(main()).returncode == -signal.SIGKILL


def test_what_runs_are_forked_from_has_one_thread_and_is_connected_to_nothing(silent: str) -> None:
    async def main() -> None:
        async with create_task_group() as group:
            run = await begun(group, str(uuid4()), silent)
            server = psutil.Process(run.pid).parent()
            assert server
            assert PRELOADED[0] in " ".join(server.cmdline())
            assert server.num_threads() == 1
            assert server.net_connections("inet") == []
            group.cancel_scope.cancel()

    asyncio.run(main())
