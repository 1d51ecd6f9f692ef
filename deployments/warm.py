"""Runs begin in a process that has imported everything already, by Python's own fork server.

Interpreter and imports are most of what a run would wait for: 3 to 4 s. They happen once, in a process of one thread
that has opened nothing, and each run is forked from it. What runs then is Prefect's own engine, as by
``python -m prefect.engine``: a process of its own, which outlives its runner.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from prefect.context import refresh_global_settings_context
from prefect.runner import _starter_engine
from setproctitle import setproctitle

PRELOADED = (
    "deployments.runner",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.concurrency.services",
    "tasks.fleets.local",
    "tasks.routers.envoy",
)
"""What is imported before the first run begins: all that a first task needs, and nothing that starts a thread (so
neither numpy nor pandas, which come with the first judgement)."""
TITLE = "davy: flow run {run}"
"""A run's process, as `ps` shows it."""

_forked = multiprocessing.get_context("forkserver")
_one_at_a_time = anyio.CapacityLimiter(1)
"""Python's processes are looked after by one thread at a time."""


@dataclass
class Run:
    """A run's process, as Prefect's runner looks at it.

    Attributes:
        returncode: None while it lives; negative if a signal ended it.
    """

    pid: int
    returncode: int | None = None


def keep_warm() -> None:
    """From now on this process's runner forks its runs; the imports begin at once, beside it.

    Prefect's runner has no public way to choose how a process is started; what is replaced here is the one
    function by which its starter does.
    """
    _forked.set_forkserver_preload(list(PRELOADED))
    forkserver.ensure_running()
    _starter_engine.run_process = begin  # type: ignore[assignment, attr-defined]


async def begin(
    command: object,
    *,
    task_status: TaskStatus[Any],
    task_status_handler: Callable[[Any], Any],
    env: Mapping[str, str],
    **others: object,
) -> None:
    """Begin one run, tell of its process, and return once that has ended; its output goes where the runner's goes.

    Args:
        command: What would start a cold interpreter.
        env: The process's whole environment.
        others: How that interpreter would be started.
    """
    del command, others
    process = _forked.Process(target=carry, args=(dict(env),))
    await to_thread.run_sync(process.start, limiter=_one_at_a_time)
    run = Run(process.pid or 0)
    task_status.started(task_status_handler(run))
    try:
        await anyio.wait_readable(process.sentinel)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(process.join, limiter=_one_at_a_time)
        run.returncode = process.exitcode


def carry(environment: Mapping[str, str]) -> None:
    """In the forked process: be Prefect's engine for the run that *environment* names."""
    run = environment["PREFECT__FLOW_RUN_ID"]
    os.environ["SPT_NOENV"] = "1"  # only the command's words, not the environment that follows them in memory
    setproctitle(TITLE.format(run=run))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["prefect.engine", run]
    refresh_global_settings_context()
    warnings.filterwarnings("ignore", ".*found in sys.modules.*", RuntimeWarning, "runpy")
    try:
        runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # noqa: SLF001 - Python leaves them out in a forked process
