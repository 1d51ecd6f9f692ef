"""A supervisor of the test's own, a replica that behaves as it is told, and a shop on Kubernetes."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.supervisor import start_supervisor, stop_supervisor
from tasks.domain.spec import Canary, ServiceFile
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.fixtures import cluster, control_plane, crds, kubelet, namespace
from tests.rig.cluster.kubelet import Kubelet
from tests.tasks.fleets.on_kubernetes import Shop

__all__ = ["cluster", "control_plane", "crds", "kubelet", "namespace"]

REPLICA = """
import http.server, os, signal, subprocess, sys, time

mode, port = sys.argv[1], int(sys.argv[2])
if mode == "dies":
    print("no database", flush=True)
    sys.exit(3)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "parent":  # its child leaves the process group and keeps the parent's port
    subprocess.Popen([sys.executable, __file__, "ready", sys.argv[3]], start_new_session=True)
if mode == "late":
    time.sleep(1000)


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if mode == "slow":
            time.sleep(5)
        self.send_response(500 if mode == "sick" else 200)
        self.end_headers()
        self.wfile.write("\\n".join([os.environ.get("TEXT", ""), os.getcwd(), *sys.argv]).encode())


http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture
def supervisor(home: Path) -> Iterator[Path]:
    """A running supervisor; its state folder."""
    start_supervisor([])
    yield home
    stop_supervisor()


@pytest.fixture
def service(tmp_path: Path) -> Callable[..., ServiceFile]:
    """Makes a service whose replicas behave as *mode* says."""
    script = tmp_path / "replica.py"
    script.write_text(REPLICA)

    def make(mode: str = "ready", *words: str, name: str = "shop", **fleet: object) -> ServiceFile:
        command = f"{shlex.join([sys.executable, str(script), mode])} {{port}} {shlex.join(words)}"
        health = {"path": "/health", "timeout": "1s"}
        return Canary.model_validate(
            {
                "service": name,
                "fleet": {"command": command, "health": health, "stop_within": "5s"} | fleet,
                "router": {"port": 18080},
            }
        )

    return make


@pytest.fixture
def shop(home: Path, control_plane: ControlPlane, kubelet: Kubelet, namespace: str, tmp_path: Path) -> Shop:
    """It has nothing yet: `Shop.make` makes it."""
    del home, kubelet
    return Shop(control_plane, namespace, tmp_path)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits until a condition holds; fails when it never does."""

    def wait(holds: Callable[[], object], within: timedelta = timedelta(seconds=30)) -> None:
        deadline = time.monotonic() + within.total_seconds()
        while not holds():
            assert time.monotonic() < deadline, f"not so within {within}"
            time.sleep(0.02)

    return wait
