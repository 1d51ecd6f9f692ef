"""The embedded stack: what `davy up` starts and `davy down` ends.

Prefect's server and UI, two runners, the watcher, Envoy and the sampler, each a program of
one supervisor, which brings back what dies.
"""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx

from deployments import prefect_api
from deployments.supervisor import end_leftovers, start_supervisor, stop_supervisor, supervisor_is_up
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.settings import settings
from tasks.fleets.supervisor import Program
from tasks.routers.envoy_bootstrap import bootstrap
from tasks.routers.envoy_needs import WATCHES_AT_START, refuse_watches

START_WITHIN = timedelta(minutes=5)
"""How long a part may take to answer: Prefect's first start migrates its database, whose writers may then wait
for each other a minute at a time."""
STOP = timedelta(seconds=10)
"""Time between SIGTERM and SIGKILL for each part."""
POLL = 0.2
FRESH = 5.0
"""Seconds since a file was last written that shows its writer to be alive."""


@dataclass(frozen=True)
class PartOfStack:
    """One part, and how it shows that it is there."""

    program: Program
    what: str
    is_ready: Callable[[], bool]


def parts() -> list[PartOfStack]:
    """Every part of the stack, in the order in which people care for them."""
    return [*_davys(), *_prefects()]


def _davys() -> list[PartOfStack]:
    """What works without Prefect."""
    lean = {"MALLOC_ARENA_MAX": "2"}
    return [
        PartOfStack(
            Program("envoy", tuple(bootstrap()), STOP),
            f"Envoy, its admin interface on port {settings().envoy_port}",
            lambda: _answers(f"http://127.0.0.1:{settings().envoy_port}/ready"),
        ),
        PartOfStack(
            Program("sampler", (sys.executable, "-m", "tasks.metrics.sampler"), STOP),
            "the sampler of Envoy's figures",
            settings().samples.exists,
        ),
        PartOfStack(
            Program("watcher", (sys.executable, "-m", "deployments.watcher"), STOP, lean),
            "the watcher",
            lambda: time.time() - settings().watcher_pulse.stat().st_mtime < FRESH,
        ),
        PartOfStack(
            Program("approvals", (*_yielding(), "-m", "deployments.approvals"), STOP, lean),
            f"the page for approvals on {settings().approvals}",
            lambda: _answers(f"http://127.0.0.1:{settings().approvals_port}/health"),
        ),
    ]


def _prefects() -> list[PartOfStack]:
    """Prefect's server, and what runs flows."""
    environment, port = prefect_api.environment(), str(settings().prefect_port)
    server = (*_yielding(), "-m", "deployments.prefect_server", "--host", "127.0.0.1", "--port", port)
    runner = (*_yielding(), "-m", "deployments.runner")
    return [
        PartOfStack(
            Program("prefect", server, STOP, environment),
            f"Prefect's server and UI on {prefect_api.server_url()}",
            prefect_api.is_healthy,
        ),
        PartOfStack(
            Program("runner", (*runner, "releases"), STOP, environment, orphans="leave"),
            "the runner of releases",
            lambda: prefect_api.has_deployment("rollback/davy"),
        ),
        PartOfStack(
            Program("way-back", (*runner, "way-back"), STOP, environment, orphans="leave"),
            "the runner of ways back",
            lambda: prefect_api.has_deployment("way-back/davy"),
        ),
    ]


def _yielding() -> tuple[str, ...]:
    """Python, for what is to leave the processor to Envoy, sampler and watcher."""
    return (shutil.which("nice") or "nice", "-n", "10", sys.executable)


def up(say: Callable[[str], None]) -> None:
    """Start what is not running; return when every part answers.

    Raises:
        InputError: A port is in use; nothing was started; not retried.
        PermanentError: A part does not answer in time; not retried.
    """
    if not supervisor_is_up():
        end_leftovers()
        check_ports()
        refuse_watches(WATCHES_AT_START)
        settings().root.mkdir(parents=True, exist_ok=True)
        settings().watcher_pulse.unlink(missing_ok=True)
    start_supervisor([part.program for part in parts()])
    deadline = time.monotonic() + START_WITHIN.total_seconds()
    for part in parts():
        while not is_ready(part):
            if time.monotonic() > deadline:
                msg = f"{part.what}: no answer within {START_WITHIN}, expected one; see {settings().root / 'logs'}"
                raise PermanentError(msg)
            time.sleep(POLL)
        say(f"{part.what} is up")


def down() -> None:
    """End every part and every replica; return when nothing is left running."""
    stop_supervisor()


def is_up() -> bool:
    """Whether every part answers."""
    return supervisor_is_up() and all(is_ready(part) for part in parts())


def is_ready(part: PartOfStack) -> bool:
    """Whether the part answers now."""
    try:
        return part.is_ready()
    except OSError:
        return False


def check_ports() -> None:
    """Make sure that every port of the stack is free.

    Raises:
        InputError: One is in use; it names the setting; not retried.
    """
    for field in ("prefect_port", "envoy_port", "supervisor_port", "approvals_port"):
        port = getattr(settings(), field)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                where = f"{field} (DAVY_{field.upper()})"
                raise InputError(
                    where, f"{port}, which is in use", "a port that nothing listens on"
                ) from error


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
