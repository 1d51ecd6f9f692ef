"""The way to the rig's API server, hurt: a reverse proxy on 127.0.0.1 that refuses, keeps silent and counts.

It speaks plain HTTP and passes on who asks, so that what a test allows an identity holds here too. What it
does wrong can be changed at any time, from any thread; every call that reached it is kept.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from tests.rig.cluster.control_plane import ControlPlane

READS = ("get", "list", "watch")
_OWN = ("host", "connection", "accept-encoding", "content-length", "transfer-encoding")
"""Headers that are each connection's own."""
_ANSWERS_WITHIN = 60
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Call:
    """One call of the API.

    Attributes:
        verb: As roles name it.
        resource: Its plural, with its subresource.
        status: What was answered; 0 for nothing.
    """

    verb: str
    resource: str
    path: str
    status: int = 0

    @property
    def changes(self) -> bool:
        """Whether it would change something; asking what is allowed, or for a dry run, does not."""
        return self.verb not in READS and "accessreview" not in self.resource and "dryRun=" not in self.path


@dataclass
class Rule:
    """What calls are answered with, in place of the server's own words.

    Attributes:
        calls: How many of them; None for all until it is cleared.
        verbs: Which; all where it is empty.
        changing: Only such as would change something.
        every: Only each so-many-th of them.
    """

    status: int
    calls: int | None = None
    verbs: Collection[str] = ()
    resource: str = ""
    retry_after: int | None = None
    changing: bool = False
    every: int = 1
    _met: int = 0

    def takes(self, call: Call) -> bool:
        """Whether *call* is one of them; it is counted."""
        if (self.verbs and call.verb not in self.verbs) or self.resource not in ("", call.resource):
            return False
        if self.changing and not call.changes:
            return False
        self._met += 1
        if self.calls == 0 or self._met % self.every:
            return False
        self.calls = None if self.calls is None else self.calls - 1
        return True


class FaultyApi:
    """A context: the proxy, until it is left.

    Args:
        folder: For its kubeconfig.
        identity: One of the control plane's, whom the kubeconfig is for.

    Attributes:
        kubeconfig: Leads here.
        calls: All that it was asked, oldest first.
        on_change: Asked before each call that changes something, from 1: whether it is let through;
            else nothing is answered.
    """

    kubeconfig: Path

    def __init__(self, plane: ControlPlane, folder: Path, identity: str = "admin") -> None:
        self._plane, self._folder, self._identity = plane, folder, identity
        self.calls: list[Call] = []
        self.on_change: Callable[[int], bool] = lambda _number: True
        self._rules: list[Rule] = []
        self._lock, self._speaks = threading.Lock(), threading.Event()
        self._here: set[socket.socket] = set()
        self._server: _Server | None = None
        self._changes = self._port = 0

    def __enter__(self) -> Self:
        said = json.loads(self._plane.identity(self._identity).read_text())
        self._upstream = said["clusters"][0]["cluster"]["server"]
        trust = ssl.create_default_context(cafile=str(self._plane.folder / "ca.crt"))
        self._pool = urllib3.PoolManager(ssl_context=trust, maxsize=16)
        self.clear()
        said["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self._port}"}
        self.kubeconfig = self._folder / f"faulty-{self._identity}.kubeconfig"
        self.kubeconfig.write_text(json.dumps(said))
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._pool.clear()

    @property
    def changes(self) -> list[Call]:
        """The calls that changed something."""
        return [
            call for call in list(self.calls) if call.changes and 0 < call.status < HTTPStatus.BAD_REQUEST
        ]

    def answer(self, status: int, calls: int | None = None, **which: Any) -> Rule:  # noqa: ANN401 - fields of `Rule`
        """Have calls answered with *status*; what was said last counts first."""
        rule = Rule(status, calls, **which)
        with self._lock:
            self._rules.insert(0, rule)
        return rule

    def silent(self) -> None:
        """Accept every call and answer none."""
        self._speaks.clear()

    def refuse(self) -> None:
        """Refuse connections, and end those there are."""
        self._speaks.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in list(self._here):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        """Take connections again, where none were taken."""
        if self._server is None:
            self._server = _Server(self, self._port)
            self._port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self._rules.clear()
        self._speaks.set()
        self.accept()

    def handle(self, call: Call, headers: dict[str, str], body: bytes) -> _Answer | None:
        """What to answer; None for nothing at all."""
        self._speaks.wait()
        with self._lock:
            rule = next((rule for rule in self._rules if rule.takes(call)), None)
            if rule is None and call.changes:
                self._changes += 1
        if rule:
            return _status(rule)
        if call.changes and not self.on_change(self._changes):
            return None
        return self._passed_on(call, headers, body)

    def _passed_on(self, call: Call, headers: dict[str, str], body: bytes) -> _Answer | None:
        """The API server's own answer."""
        method = next((method for method, verb in _VERBS.items() if verb == call.verb), "GET")
        url = f"{self._upstream}{call.path}"
        try:
            found = self._pool.request(
                method, url, body=body or None, headers=headers, retries=False, timeout=_ANSWERS_WITHIN
            )
        except HTTPError:
            return None
        return _Answer(found.status, found.headers.get("Content-Type", ""), found.data)


@dataclass(frozen=True)
class _Answer:
    status: int
    kind: str
    body: bytes
    retry_after: int | None = None


def _status(rule: Rule) -> _Answer:
    """As the API server says why it does not do something."""
    status = HTTPStatus(rule.status)
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": int(status)}
    reason = {"reason": status.phrase.title().replace(" ", ""), "message": f"the rig says: {status.phrase}"}
    return _Answer(status, "application/json", json.dumps(said | reason).encode(), rule.retry_after)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, api: FaultyApi, port: int) -> None:
        self.api = api
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, *_: object) -> None:
        """Whoever asked has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        """Known, so that it can be ended."""
        super().setup()
        self.server.api._here.add(self.connection)

    def finish(self) -> None:
        """Known no more."""
        self.server.api._here.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        api, length = self.server.api, int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        headers = {name: text for name, text in self.headers.items() if name.lower() not in _OWN}
        call = _call(self.command, self.path)
        answer = api.handle(call, headers, body)
        status = answer.status if answer else 0
        api.calls.append(Call(call.verb, call.resource, call.path, status))
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.retry_after is not None:
            self.send_header("Retry-After", str(answer.retry_after))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - as inherited

    def log_message(self, *_: object) -> None:
        """What was asked is in `FaultyApi.calls`."""


def _call(method: str, path: str) -> Call:
    """A request as roles see it."""
    split = urlsplit(path)
    parts = split.path.strip("/").split("/")
    parts = parts[2 if parts[0] == "api" else 3 :]  # group and version
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    resource, name, sub = (*parts, "", "", "")[:3]
    verb = _VERBS.get(method)
    if verb is None:
        verb = "watch" if parse_qs(split.query).get("watch") else "get" if name else "list"
    return Call(verb, f"{resource}/{sub}" if sub else resource, path)
