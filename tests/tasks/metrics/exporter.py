"""A small server that says what Prometheus is to scrape, and counts how often it was asked."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self


class Exporter(ThreadingHTTPServer):
    """Series by name with labels, as in ``requests{code="200"}``, and their values."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Scraped)
        self.address = f"127.0.0.1:{port}"
        self.series: dict[str, float] = {}
        self.is_down = False
        self.scrapes = 0

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Scraped(BaseHTTPRequestHandler):
    """Answers a scrape."""

    server: Exporter

    def do_GET(self) -> None:
        """Answer."""
        text = "".join(f"{name} {value}\n" for name, value in dict(self.server.series).items())
        self.send_response(503 if self.server.is_down else 200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
        self.server.scrapes += 1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""
