"""start: from a click on Submit, and from a merge's webhook, to the release's first task, cold and warm.

A click is what the form's button sends: create_flow_run on a service's deployment. A webhook is a signed push that a
receiver of its own (`davy webhooks`) takes. Cold is the stack's first release of any, warm the median of the others.
Its parts come from Prefect's own timestamps: until the run exists, until a runner has taken it (its poll), until the
flow's process runs it (interpreter and imports), until its first task begins.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import httpx
import yaml

from tasks.domain.errors import ConflictError
from tests.benchmarks.bench import Bench
from tests.benchmarks.figure import Figure
from tests.benchmarks.webhooks import answers, free_port
from tests.deployments.webhook_servers import GITHUB, from_github, payload
from tests.rig.leave import leave
from tests.rig.services import shop
from tests.rig.stack import Davy, await_that

AIM = 2.0
"""Seconds to the first task, warm."""
ROUNDS = 6
NAME = "start"
REPOSITORY = "example-org/shop"
"""Of the recorded push."""
PARTS = ("until the run exists", "runner's poll", "process and imports", "until the first task")


@dataclass(frozen=True)
class Start:
    """Seconds of one start: each of `PARTS`, which together make the whole."""

    made: float
    polled: float
    spawned: float
    began: float

    @property
    def whole(self) -> float:
        """From the click, or the webhook, to the first task."""
        return self.made + self.polled + self.spawned + self.began


def measure(bench: Bench) -> list[Figure]:
    """The first start cold, then clicks and webhooks in turn; each release is taken back once it has begun."""
    folder = bench.davy.home.parent / "started"
    with a_service(bench.davy, folder) as server, a_receiver(bench.davy, folder) as receiver:
        cold = one(bench, server, click)
        clicks, webhooks = [], []
        for _ in range(ROUNDS):
            clicks.append(one(bench, server, click))
            webhooks.append(one(bench, server, lambda _api, _name: push(receiver)))
    return [
        Figure("start", "from click to first task, cold", cold.whole, AIM, "s", "the warm aim"),
        *figures("click", clicks),
        *figures("webhook", webhooks),
    ]


def figures(way: str, starts: list[Start]) -> list[Figure]:
    """The whole, and what it is made of."""
    whole = median(start.whole for start in starts)
    told = f"from {way} to first task, warm, median of {len(starts)}"
    parts = [
        Figure("start", f"{way}: {name}", median(column), AIM, "s", "the whole's aim")
        for name, column in zip(PARTS, zip(*map(astuple, starts), strict=True), strict=True)
    ]
    return [Figure("start", told, whole, AIM, "s", "warm"), *parts]


def one(bench: Bench, server: str, ask: Any) -> Start:  # noqa: ANN401 - click or push
    """Start one release, read its timestamps, and take it back."""
    known = runs(server)
    asked = time.time()
    ask(server, f"canary/{NAME}")
    run = await_that(lambda: next(iter(runs(server) - known), None), what="a flow run")
    first = await_that(lambda: first_task(server, run), what="its first task")
    start = read(server, run, asked, first)
    bench.say(", ".join(f"{name} {part:.2f} s" for name, part in zip(PARTS, astuple(start), strict=True)))
    bench.davy.run("abort", NAME)
    await_that(lambda: over(server, run), what="its end")
    return start


def read(server: str, run: str, asked: float, first: float) -> Start:
    """The parts of a start, by the states that Prefect has recorded."""
    states = {
        state["type"]: instant(state["timestamp"])
        for state in reversed(get(server, f"/flow_run_states/?flow_run_id={run}"))
    }
    made = instant(get(server, f"/flow_runs/{run}")["created"])
    pending, running = states["PENDING"], states["RUNNING"]
    return Start(made - asked, pending - made, running - pending, first - running)


def click(server: str, deployment: str) -> None:
    """What the form's button sends."""
    found = get(server, f"/deployments/name/{deployment}")
    body = {"parameters": {"version": f"2.{uuid4().hex[:6]}"}, "idempotency_key": uuid4().hex}
    address = f"{server}/deployments/{found['id']}/create_flow_run"
    httpx.post(address, json=body, timeout=60).raise_for_status()


def push(receiver: str) -> None:
    """A merge that nobody has told of before."""
    event = from_github(payload("github-push", after=uuid4().hex + "0" * 8))
    httpx.post(f"{receiver}/github", timeout=60, **event).raise_for_status()


def first_task(server: str, run: str) -> float | None:
    """When the run's first task began, epoch seconds; None while none has."""
    body = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found = httpx.post(f"{server}/task_runs/filter", json=body, timeout=60).raise_for_status().json()
    return min((instant(task["start_time"]) for task in found if task["start_time"]), default=None)


def runs(server: str) -> set[str]:
    """Every flow run of the service's strategy."""
    body = {"flows": {"name": {"any_": ["canary"]}}}
    found = httpx.post(f"{server}/flow_runs/filter", json=body, timeout=60).raise_for_status()
    return {run["id"] for run in found.json()}


def over(server: str, run: str) -> bool:
    """Whether the run has ended."""
    kind: str = get(server, f"/flow_runs/{run}")["state_type"]
    return kind in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


def get(server: str, path: str) -> Any:  # noqa: ANN401 - as JSON has it
    """What the server answers."""
    return httpx.get(f"{server}{path}", timeout=60).raise_for_status().json()


def instant(text: str) -> float:
    """A server's time in epoch seconds."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


@contextmanager
def a_service(davy: Davy, folder: Path) -> Iterator[str]:
    """A canary with its first version, deployed; gives the address of Prefect's API."""
    folder.mkdir()
    own: dict[str, Any] = {
        "replicas": 1,
        "steps": [{"share": 50, "bake": "10m"}],
        "on_merge": {"repository": REPOSITORY},
    }
    content = shop(NAME, strategy="canary", port=next(davy.ports), home=davy.home, **own)
    content["abort_scale_down_delay"] = "0s"
    file = folder / f"{NAME}.yaml"
    file.write_text(yaml.safe_dump(content))
    deployed = davy.run("deploy", str(folder))
    assert deployed.code == 0, deployed
    yield f"http://127.0.0.1:{davy.environment['DAVY_PREFECT_PORT']}/api"
    await_that(lambda: has_left(file), what="the last release's lease")


def has_left(file: Path) -> bool:
    """Leave the service, once its last release holds it no more."""
    try:
        leave(file)
    except ConflictError:
        return False
    return True


@contextmanager
def a_receiver(davy: Davy, folder: Path) -> Iterator[str]:
    """`davy webhooks` on a port of its own; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "deployments.cli", "webhooks", str(folder), "--port", str(port)]
    environment = davy.environment | {"DAVY_WEBHOOK_GITHUB_SECRET": GITHUB}
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            await_that(lambda: answers(base), what="the receiver")
            yield base
        finally:
            process.terminate()
