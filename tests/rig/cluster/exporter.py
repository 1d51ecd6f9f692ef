"""What a Prometheus scrapes of the mesh: its access log, counted as the real products count."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from threading import Lock, Thread
from time import time
from typing import Self

from tests.rig.cluster.mesh import Mesh
from tests.rig.cluster.mesh_labels import SHAPES, Labels, Shape
from tests.rig.cluster.mesh_log import Line, Tail

BOUNDS = (5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 3000, 5000, 10_000)
"""Of the histograms, in milliseconds."""


@dataclass
class Counted:
    """One series; born with its first request, it only grows.

    Attributes:
        buckets: How many requests took longer than the bound before and no longer than this one.
        sum: Of all their milliseconds.
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0

    def add(self, duration: float) -> None:
        """One more request."""
        self.buckets[bisect_left(BOUNDS, duration)] += 1
        self.sum += duration


class Counts:
    """All series of all entries, from what the log has said until now."""

    def __init__(self, mesh: Mesh) -> None:
        self._entries = {entry.port: entry for entry in mesh.entries}
        self._pods = mesh.pods
        self._tail = Tail(mesh.log)
        self._lock = Lock()
        self._started = time()
        self._series: dict[Shape, dict[Labels, Counted]] = {}

    def text(self) -> str:
        """Read what is new, and say it all in Prometheus' words."""
        with self._lock:
            for line in self._tail.lines():
                if line.code:
                    self._count(line)
            return "\n".join(self._said()) + "\n"

    def _count(self, line: Line) -> None:
        entry = self._entries[line.entry]
        shape = SHAPES[entry.kind]
        series = self._series.setdefault(shape, {})
        for labels in shape.labels(line, entry, self._pods.at(line.upstream_host, line.at)):
            series.setdefault(labels, Counted()).add(line.duration)

    def _said(self) -> Iterator[str]:
        yield "# TYPE process_start_time_seconds gauge"
        yield f"process_start_time_seconds {self._started}"
        for shape, series in self._series.items():
            yield f"# TYPE {shape.requests} counter"
            for labels, counted in series.items():
                yield f"{shape.requests}{{{_quoted(labels)}}} {sum(counted.buckets)}"
            yield f"# TYPE {shape.durations} histogram"
            for labels, counted in series.items():
                yield from _histogram(shape, _quoted(labels), counted)


class Exporter(ThreadingHTTPServer):
    """Answers on 127.0.0.1 with the mesh's metrics, until it is left.

    Attributes:
        is_down: Whether it answers 503 instead, as a target that cannot be scraped does.
    """

    daemon_threads = True

    def __init__(self, mesh: Mesh, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Scraped)
        self.address = f"127.0.0.1:{port}"
        self.counts = Counts(mesh)
        self.is_down = False
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Scraped(BaseHTTPRequestHandler):
    server: Exporter
    wbufsize = -1

    def do_GET(self) -> None:
        text = self.server.counts.text().encode()
        self.send_response(503 if self.server.is_down else 200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


def _histogram(shape: Shape, labels: str, counted: Counted) -> Iterator[str]:
    bounds = [*(f"{bound / shape.unit:g}" for bound in BOUNDS), "+Inf"]
    for bound, count in zip(bounds, accumulate(counted.buckets), strict=True):
        yield f'{shape.durations}_bucket{{{labels},le="{bound}"}} {count}'
    yield f"{shape.durations}_sum{{{labels}}} {counted.sum / shape.unit:g}"
    yield f"{shape.durations}_count{{{labels}}} {sum(counted.buckets)}"


def _quoted(labels: Labels) -> str:
    escaped = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    return ",".join(f'{name}="{value.translate(escaped)}"' for name, value in labels)
