"""Run flows without Prefect's engine: tasks are called as the functions they are, a thousand times as fast."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from prefect import Flow, Task
from prefect.client.schemas.objects import State

from flows.blue_green import blue_green
from flows.blue_green_canary import blue_green_canary
from flows.canary import canary
from flows.gate import gate
from flows.rolling import rolling
from tasks.domain.model import Revision
from tasks.domain.spec import ServiceFile
from tasks.release import Release

FLOWS: dict[str, Flow[..., Any]] = {
    "rolling": rolling,
    "blue-green": blue_green,
    "canary": canary,
    "blue-green-canary": blue_green_canary,
}


def without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take Prefect's engine away for one test; a fake replica's preview answers 200."""

    def submit(task: Task[..., Any], *args: object, **kwargs: object) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(task.fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a dead process is one, and `result` raises it again
            future.set_exception(error)
        return future

    monkeypatch.setattr(Task, "__call__", lambda task, *args, **kwargs: task.fn(*args, **kwargs))
    monkeypatch.setattr(Task, "submit", submit)
    monkeypatch.setattr("tasks.provision.wait", lambda _futures: None)
    monkeypatch.setattr("flows.carry.get_run_logger", lambda: logging.getLogger("flow"))
    monkeypatch.setattr("tasks.artifacts.create_markdown_artifact", lambda **_words: None)
    monkeypatch.setattr("flows.carry.show_report", lambda _record: None)  # draws, which takes a second
    monkeypatch.setattr("flows.gate.gate", _gate)
    monkeypatch.setattr(
        "flows.gate.ask", lambda _carrier, _opened, bell: bell.wait(0.01)
    )  # nobody has a form
    monkeypatch.setattr("flows.gate.POLL", 0.01)
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)  # nobody pulls the plug here
    monkeypatch.setattr("tasks.traffic.POLL", 0.001)
    monkeypatch.setattr("tasks.promotion._answer", lambda _url, _timeout: "200")


def _gate(release: Release, revision: Revision, point: str, *, return_state: bool) -> State[None]:
    del return_state
    return gate.fn(release, revision, point)


def run(
    service: ServiceFile, version: str = "v2", release: str = "r1", starter: str = "carol"
) -> State[None]:
    """Carry out a release by its strategy's flow."""
    body: Callable[..., State[None]] = FLOWS[service.strategy].fn  # type: ignore[attr-defined]
    return body(service, version, release, starter)
