"""Secrets that a test plants, servers that show back what they are sent, and the search for where secrets got to."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4


class Planted:
    """Distinct secrets by name, and how each may look where it leaked."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The secret of that name; letters, digits and a dash, so that no quoting changes it."""
        return self._secrets.setdefault(name, f"planted-{uuid4().hex}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def found_in(self, content: bytes) -> set[str]:
        """The names of all secrets that *content* holds, plain, in hexadecimal digits or in Base64."""
        return {
            name
            for name, secret in self._secrets.items()
            if any(form in content for form in _forms(secret.encode()))
        }


def _forms(secret: bytes) -> Iterator[bytes]:
    """Base64 has three forms, by where the secret begins in what was encoded."""
    yield secret
    yield secret.hex().encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret).rstrip(b"=")
        yield encoded[before + 1 if before else 0 : -2]


def leaks(planted: Planted, places: Mapping[str, bytes], allowed: Mapping[str, Iterable[str]]) -> list[str]:
    """Where a secret is that must not be there.

    Args:
        places: What there is to search.
        allowed: By place, the secrets that belong there.
    """
    return [
        f"{place} has {name}"
        for place, content in places.items()
        for name in sorted(planted.found_in(content) - set(allowed.get(place, ())))
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every byte of a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Mirror(ThreadingHTTPServer):
    """Refuses whatever it is asked, and says again all that it was sent: in its body, a header and its status line.

    Args:
        status: What it answers; 0 for something that is no HTTP.
        challenge: Who it wants to know first, as ``Basic realm="x"``.
    """

    daemon_threads = True

    def __init__(self, port: int, *, status: int = 401, challenge: str = "") -> None:
        self.status = status
        self.challenge = challenge
        self.heard = b""
        super().__init__(("127.0.0.1", port), _MirrorHandler)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


class _MirrorHandler(BaseHTTPRequestHandler):
    server: Mirror

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = f"{self.path} {json.dumps(dict(self.headers))}".encode() + body
        self.server.heard += sent
        self.close_connection = True
        if not self.server.status:
            self.wfile.write(b"no http at all: " + sent + b"\r\n\r\n")
            return
        line = sent.decode("latin-1").replace("\r", " ").replace("\n", " ")
        if self.server.challenge and "Authorization" not in self.headers:
            self.send_response(401)
            self.send_header("WWW-Authenticate", self.server.challenge)
        else:
            self.send_response(self.server.status, line)
            self.send_header("X-Sent", line)
        said = json.dumps({"message": line, "detail": line, "error": line}).encode()
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815 - as inherited

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


@contextmanager
def mirroring(*mirrors: Mirror) -> Iterator[None]:
    """Let them answer."""
    threads = [threading.Thread(target=one.serve_forever, args=(0.05,)) for one in mirrors]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for mirror, thread in zip(mirrors, threads, strict=True):
            mirror.shutdown()
            thread.join()
            mirror.server_close()
