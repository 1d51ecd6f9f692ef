"""Prefect's tries without Prefect's engine, and all of a release's clocks run ten times as fast."""

from __future__ import annotations

import time
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from prefect import Task

from tasks.cluster.again import PAUSES
from tasks.domain.errors import TransientError
from tests.rig.bare import without_engine

HURRY = 10


def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the engine away, but for what it does with errors that may pass: it tries again, after a pause."""
    without_engine(monkeypatch)

    def submit(task: Task[..., Any], *args: object, **kwargs: object) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(_tried(task, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a dead process is one, and `result` raises it again
            future.set_exception(error)
        return future

    monkeypatch.setattr(Task, "__call__", _tried)
    monkeypatch.setattr(Task, "submit", submit)
    seconds = {"traffic.POLL": 0.02, "traffic.DRIFT": 0.1, "restore.PAUSE": 0.05, "served.POLL": 0.02}
    spans = {"restore.PATIENCE": 3.0, "restore.CONVERGE": 0.5, "routers.slot_services.SEEN_WITHIN": 0.05}
    spans |= {"routers.istio.SEEN_WITHIN": 0.05}
    for name, value in seconds.items():
        monkeypatch.setattr(f"tasks.{name}", value)
    for name, value in spans.items():
        monkeypatch.setattr(f"tasks.{name}", timedelta(seconds=value))
    monkeypatch.setattr("tasks.cluster.again.PAUSES", tuple(pause / HURRY for pause in PAUSES))
    monkeypatch.setattr("flows.carry.PATIENCE", timedelta(seconds=3))
    monkeypatch.setattr("flows.carry.ENDING", timedelta(0))
    monkeypatch.setattr("deployments.watcher.AFTER_TROUBLE", 0.1)


def _tried(task: Task[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - what the task gives
    pauses = task.retry_delay_seconds if isinstance(task.retry_delay_seconds, list) else []
    for pause in pauses:
        try:
            return task.fn(*args, **kwargs)
        except TransientError:
            time.sleep(pause / HURRY)
    return task.fn(*args, **kwargs)
