"""Small servers where the rig's pods listen, for tests of the mesh itself."""

from __future__ import annotations

import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

PORT = 8080


class Backend(ThreadingHTTPServer):
    """Says its version; ``?sleep=SECONDS`` and ``?code=STATUS`` are obeyed.

    Attributes:
        seen: The Host header of each request.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: str, version: str) -> None:
        super().__init__((address, PORT), _Handler)
        self.version = version
        self.seen: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Backend
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for an answer

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        self.server.seen.append(self.headers.get("host", ""))
        time.sleep(float(asked.get("sleep", ["0"])[0]))
        body = self.path.encode()
        self.send_response(int(asked.get("code", ["200"])[0]))
        self.send_header("x-version", self.server.version)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


class _Says(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        self.wfile.write(server.version)


class _Calls(socketserver.BaseRequestHandler):
    """Answers every call with its version and gRPC's OK."""

    def handle(self) -> None:
        server: Any = self.server
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        self.request.sendall(connection.data_to_send())
        while data := self.request.recv(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = [(":status", "200"), ("content-type", "application/grpc")]
                    headers.append(("x-version", server.version.decode()))
                    connection.send_headers(event.stream_id, headers)
                    connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
            self.request.sendall(connection.data_to_send())


class _Plain(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def serving(address: str, version: str) -> Iterator[Backend]:
    """An HTTP server at this address, until it is left."""
    with Backend(address, version) as server, _running(server):
        yield server


@contextmanager
def saying(address: str, version: str) -> Iterator[None]:
    """A TCP server that says its version and closes."""
    with _plain(address, version, _Says):
        yield


@contextmanager
def answering_calls(address: str, version: str) -> Iterator[None]:
    """A gRPC server, for what concerns a proxy."""
    with _plain(address, version, _Calls):
        yield


@contextmanager
def _plain(address: str, version: str, handler: type[socketserver.BaseRequestHandler]) -> Iterator[None]:
    with _Plain((address, PORT), handler) as server, _running(server):
        server.version = version.encode()  # type: ignore[attr-defined]
        yield


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
