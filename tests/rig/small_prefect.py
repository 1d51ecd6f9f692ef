"""A small HTTP server that gives the answers of Prefect's API that it was told to give."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.domain.settings import settings

Answer = tuple[int, object]


class Prefect(ThreadingHTTPServer):
    """Gives the answers that it was told to, by method and path; the last one again and again."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, Any]] = []
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Prefect

    def do_GET(self) -> None:
        """Read something."""
        self._answer()

    def do_POST(self) -> None:
        """Make something."""
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        key = f"{self.command} {self.path.removeprefix('/api')}"
        self.server.asked.append((key, body))
        answers = self.server.answers.get(key, [(404, {"detail": "not found"})])
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


@contextmanager
def small_prefect() -> Iterator[Prefect]:
    """A server in place of Prefect's, which knows the canary's deployment."""
    server = Prefect(settings().prefect_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.answers["GET /deployments/name/canary/davy"] = [(200, {"id": "d1"})]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run_of(state: str, kind: str, message: str = "") -> Answer:
    return 201, {"id": "run-1", "state": {"type": kind, "name": state, "message": message}}
