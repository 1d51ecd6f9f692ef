"""webhooks: a burst of merges, from the first request to the last flow run, and what each answer takes.

The receiver is a process of its own; Prefect is a small server that answers at once, so the figures are the receiver's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx

from tests.benchmarks.figure import Figure, percentile_99
from tests.deployments.webhook_servers import (
    GITHUB,
    Prefect,
    from_github,
    payload,
    serving,
    until,
    write_service,
)

BURST = 1000
"""Merges, each told once by a push and once more by its repetition."""
AT_ONCE = 16
WITHIN = 60.0
"""Seconds in which all of them are to be flow runs."""
ANSWER = 10.0
"""Seconds that GitHub waits for an answer."""
SERVE = "import sys; from pathlib import Path; from deployments.webhooks import serve; serve(Path(sys.argv[1]), port=int(sys.argv[2]))"


def measure() -> list[Figure]:
    """Send the burst twice over, and count what became of it."""
    with TemporaryDirectory() as folder, prefect_and_receiver(Path(folder)) as (prefect, base):
        began = time.monotonic()
        took = burst(base)
        accepted = time.monotonic() - began
        until(lambda: len(prefect.runs) == BURST, WITHIN)
        ended = time.monotonic() - began
        lost, doubled = BURST - len(prefect.runs), len(prefect.posts) - len(prefect.runs)
    told = f"{2 * BURST} events, {AT_ONCE} at once"
    return [
        Figure("webhooks", f"lost or doubled of {BURST} merges", lost + doubled, 0, "", "none"),
        Figure("webhooks", f"{told}, all answered", accepted, WITHIN, "s", "a minute"),
        Figure("webhooks", f"{told}, all flow runs", ended, WITHIN, "s", "a minute"),
        Figure("webhooks", f"{told}, median answer", median(took), ANSWER, "s", "GitHub's patience"),
        Figure("webhooks", f"{told}, 99th percentile", percentile_99(took), ANSWER, "s", "GitHub's patience"),
    ]


def burst(base: str) -> list[float]:
    """Send every merge, and every one once more; gives the seconds that each answer took."""
    body = payload("github-push")
    shas = [f"{number:040x}" for number in range(1, BURST + 1)]
    requests = [from_github(body | {"after": sha}) for sha in shas * 2]
    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(AT_ONCE) as pool:

        def send(request: dict[str, object]) -> float:
            began = time.monotonic()
            client.post(f"{base}/github", **request).raise_for_status()  # type: ignore[arg-type]
            return time.monotonic() - began

        return list(pool.map(send, requests))


@contextmanager
def prefect_and_receiver(folder: Path) -> Iterator[tuple[Prefect, str]]:
    """Both, on ports that are free; the receiver keeps its file in *folder*."""
    write_service(folder / "services")
    prefect, port = Prefect(0), free_port()
    environment = os.environ | {
        "DAVY_HOME": str(folder / "davy"),
        "DAVY_WEBHOOK_GITHUB_SECRET": GITHUB,
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect.server_port}/api",
    }
    command = [sys.executable, "-c", SERVE, str(folder / "services"), str(port)]
    base = f"http://127.0.0.1:{port}"
    with (
        serving(prefect),
        subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as receiver,
    ):
        try:
            until(lambda: answers(base), 30)
            yield prefect, base
        finally:
            receiver.terminate()


def answers(base: str) -> bool:
    """Whether the receiver is up."""
    try:
        return httpx.get(f"{base}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.stdout.write(json.dumps([figure.to_json() for figure in measure()], indent=2) + "\n")
