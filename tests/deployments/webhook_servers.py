"""What the receiver's tests run: the receiver itself, a Prefect and a registry in small, senders with a key."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import uvicorn
import yaml
from fastapi import FastAPI

from deployments.webhook_settings import sign

GITHUB, GITLAB, GENERIC = "a-github-secret", "a-gitlab-token", "a-generic-secret"
SECRETS = {"GITHUB_SECRET": GITHUB, "GITLAB_TOKEN": GITLAB, "GENERIC_SECRET": GENERIC}
PAYLOADS = Path(__file__).parent / "payloads"
SHA = "9c1a5f0e3b7d2468ace013579bdf02468ace1357"
"""The commit that all payloads tell of."""


class Server(ThreadingHTTPServer):
    """On a port of 127.0.0.1, in a thread."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: list[socket.socket] = []
        super().__init__(("127.0.0.1", port), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def server_close(self) -> None:
        """End as a process does, with every connection."""
        super().server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive as clients like it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def reply(self, status: int, content: object = None, **headers: str) -> None:
        """Answer with JSON."""
        payload = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


class Prefect(Server):
    """Knows deployments, and makes one flow run of each key.

    Attributes:
        away: A status with which it answers everything, while it is set.
        refuses: A status and reason with which it answers every request for a flow run, while it is set.
        slow: Seconds between making a flow run and saying so.
        runs: The body of each flow run, by its key.
        posts: Every request for a flow run that it answered, as deployment and body.
    """

    def __init__(self, port: int) -> None:
        self.away: int | None = None
        self.refuses: tuple[int, str] | None = None
        self.slow = 0.0
        self.deployments = {"canary/davy"}
        self.runs: dict[str, Any] = {}
        self.posts: list[tuple[str, Any]] = []
        self.asked = 0
        self.lock = threading.Lock()
        super().__init__(port, PrefectHandler)


class PrefectHandler(Handler):
    """Prefect's two calls."""

    server: Prefect

    def do_GET(self) -> None:
        """Find a deployment by its name."""
        name = self.path.removeprefix("/api/deployments/name/")
        self.server.asked += 1
        if self.server.away:
            self.reply(self.server.away)
        elif name in self.server.deployments:
            self.reply(200, {"id": name.replace("/", ".")})
        else:
            self.reply(404, {"detail": "Deployment not found"})

    def do_POST(self) -> None:
        """Make a flow run, or find the one that the key has."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.away:
            self.reply(self.server.away)
        elif self.server.refuses:
            self.reply(self.server.refuses[0], {"detail": self.server.refuses[1]})
        else:
            with self.server.lock:
                key = body["idempotency_key"]
                status = 200 if key in self.server.runs else 201
                self.server.runs.setdefault(key, body["parameters"])
                self.server.posts.append((self.path.split("/")[3], body))
            if self.server.slow:
                time.sleep(self.server.slow)
            self.reply(status, {"id": f"run-of-{key}"})


class Registry(Server):
    """Has images, and shows them to whoever has its token.

    Attributes:
        images: ``repository:tag``.
        user: Who gets a token, as ``user:password``; None for everybody.
    """

    def __init__(self, port: int) -> None:
        self.images: set[str] = set()
        self.user: str | None = None
        self.asked: list[str] = []
        super().__init__(port, RegistryHandler)


class RegistryHandler(Handler):
    """Manifests and tokens."""

    server: Registry

    def do_HEAD(self) -> None:
        """Tell whether a manifest is there."""
        self.server.asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer a-token":
            realm = f"http://127.0.0.1:{self.server.server_port}/token"
            challenge = f'Bearer realm="{realm}",service="registry",scope="repository:team/shop:pull"'
            self.reply(401, WWW_Authenticate=challenge)
            return
        repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
        self.reply(200 if f"{repository}:{tag}" in self.server.images else 404)

    def do_GET(self) -> None:
        """Give a token."""
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        query = parse_qs(urlsplit(self.path).query)
        right = self.server.user is None or base64.b64decode(given).decode() == self.server.user
        if right and query == {"service": ["registry"], "scope": ["repository:team/shop:pull"]}:
            self.reply(200, {"token": "a-token"})
        else:
            self.reply(401, {"errors": []})


@contextmanager
def serving(server: Server) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def receiving(app: FastAPI, port: int) -> Iterator[str]:
    """The receiver on a real port; gives its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def until(true: Callable[[], object], within: float = 10) -> None:
    """Wait until something is *true*, which must be *within* seconds."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def write_service(folder: Path, name: str = "shop", *more: dict[str, Any], **on_merge: Any) -> Path:  # noqa: ANN401
    """A service file that waits for merges; each of *more* is another kind of them."""
    repository = {"repository": "example-org/shop"}
    rules = [repository | one for one in (on_merge, *more)]
    content = {
        "service": name,
        "strategy": "canary",
        "fleet": {"command": "serve --port {port}"},
        "router": {"port": 8080},
        "on_merge": rules if more else rules[0],
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def payload(name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON has it
    """A recorded body, with top-level fields changed."""
    content: dict[str, Any] = json.loads((PAYLOADS / f"{name}.json").read_text())
    return content | changes


def from_github(
    body: object, event: str = "push", *, delivery: str = "", secret: str = GITHUB
) -> dict[str, Any]:
    """A signed request, for httpx."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid4()),
        "X-Hub-Signature-256": sign(secret.encode(), content).decode(),
    }
    return {"content": content, "headers": headers}


def from_gitlab(
    body: object, event: str = "Push Hook", *, delivery: str | None = "", token: str = GITLAB
) -> dict[str, Any]:
    """A request with the token, for httpx; None as *delivery* for a GitLab that sends no id."""
    headers = {"Content-Type": "application/json", "X-Gitlab-Event": event, "X-Gitlab-Token": token}
    if delivery is not None:
        headers["Idempotency-Key"] = delivery or str(uuid4())
    return {"content": json.dumps(body).encode(), "headers": headers}


def from_generic(
    body: object, *, delivery: str = "", secret: str = GENERIC, moment: float | None = None
) -> dict[str, Any]:
    """A signed request of our own kind, for httpx."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    delivery, stamp = delivery or str(uuid4()), str(int(time.time() if moment is None else moment))
    signed = b".".join((delivery.encode(), stamp.encode(), content))
    headers = {
        "Content-Type": "application/json",
        "X-Davy-Delivery": delivery,
        "X-Davy-Timestamp": stamp,
        "X-Davy-Signature": sign(secret.encode(), signed).decode(),
    }
    return {"content": content, "headers": headers}


def post(base: str, sender: str, request: dict[str, Any]) -> httpx.Response:
    """Send an event; without certificates, which take longer to load than the event to answer."""
    return httpx.post(f"{base}/{sender}", timeout=10, verify=False, **request)


def get(url: str) -> httpx.Response:
    """Ask; likewise."""
    return httpx.get(url, timeout=10, verify=False)
