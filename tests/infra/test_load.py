"""The load sends what it promises, tries nothing twice and hides no failure."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from infra.local.load import Load

pytestmark = pytest.mark.alone
DEADLINE = 20


class Site:
    """A web server that counts its requests; `answer` is what it does with one."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        self.paths: list[str] = []
        self.cookies: list[str | None] = []
        lock = Lock()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with lock:
                    site.paths.append(f"{self.command} {self.path}")
                    site.cookies.append(self.headers["cookie"])
                    number = len(site.paths)
                self.rfile.read(int(self.headers["content-length"] or 0))
                answer(self, number)

            do_POST = do_GET  # noqa: N815 - the base class's name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[Site]:
    site = Site(answer)
    thread = Thread(target=site.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content-length": "0", "x-version": "1.0", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def read(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "load.jsonl"


def test_the_rate_goes_to_each_address_and_it_ends_by_itself(record: Path) -> None:
    answer = lambda handler, _: reply(handler, 200)  # noqa: E731 - shorter than two functions
    with serving(answer) as one, serving(answer) as other:
        with Load([one.url, other.url], rate=100, seconds=2, record=record) as load:
            load.wait()
        lines = read(record)
    assert (len(one.paths), len(other.paths), len(lines)) == (200, 200, 400)
    assert {line["status"] for line in lines} == {200}
    due = [line["time"] for line in lines]
    assert 1.9 < max(due) - min(due) < 2.1


def test_it_reads_and_orders(record: Path) -> None:
    with serving(lambda handler, _: reply(handler, 200)) as site:
        with Load([site.url], rate=200, seconds=1, record=record) as load:
            load.wait()
        orders = sum(path == "POST /orders" for path in site.paths)
        lists = sum(path == "GET /products" for path in site.paths)
        single = sum(path.startswith("GET /products/") for path in site.paths)
    assert orders + lists + single == 200
    assert 10 < orders < lists
    assert 10 < orders < single


def test_failures_are_recorded_as_they_were(record: Path) -> None:
    with (
        serving(lambda handler, number: reply(handler, 503 if number % 4 == 0 else 200)) as site,
        Load([site.url], rate=100, seconds=1, record=record) as load,
    ):
        load.wait()
    failed = [line for line in read(record) if line["status"] == 503]
    assert len(failed) == 25
    assert {line["version"] for line in failed} == {"1.0"}


def test_a_broken_connection_is_a_failure_and_is_not_tried_again(record: Path) -> None:
    def break_every_fourth(handler: BaseHTTPRequestHandler, number: int) -> None:
        if number % 4:
            reply(handler, 200)
        else:
            handler.close_connection = True

    with (
        serving(break_every_fourth) as site,
        Load([site.url], rate=100, seconds=2, record=record) as load,
    ):
        load.wait()
    lines = read(record)
    broken = [line for line in lines if line["status"] is None]
    assert len(site.paths) == len(lines) == 200
    assert len(broken) == 50
    assert all("Disconnected" in line["error"] or "OSError" in line["error"] for line in broken)


def test_nobody_listening_is_a_failure(record: Path, free_port: Callable[[], int]) -> None:
    with Load([f"http://127.0.0.1:{free_port()}"], rate=50, seconds=1, record=record) as load:
        load.wait()
    lines = read(record)
    assert len(lines) == 50
    assert {(line["status"], line["version"]) for line in lines} == {(None, None)}
    assert "Connect" in lines[0]["error"]


def test_slow_answers_do_not_slow_the_load(record: Path) -> None:
    def hang(handler: BaseHTTPRequestHandler, _: int) -> None:
        time.sleep(3)  # longer than these users wait
        handler.close_connection = True

    with serving(hang) as site, Load([site.url], rate=20, seconds=1, record=record, patience=2) as load:
        load.wait()
    lines = read(record)
    assert len(lines) == 20
    assert all("Timeout" in line["error"] and line["duration"] >= 1900 for line in lines)
    assert max(line["time"] for line in lines) - min(line["time"] for line in lines) < 1


def test_some_users_return_with_their_cookies(record: Path) -> None:
    with serving(lambda handler, _: reply(handler, 200, set_cookie="seen=yes; Path=/")) as site:
        with Load([site.url], rate=200, seconds=1, record=record) as load:
            load.wait()
        returned = site.cookies.count("seen=yes")
        strangers = site.cookies.count(None)
    assert returned + strangers == 200
    assert returned > 30
    assert strangers > 60


def test_stopping_waits_for_answers_under_way(record: Path) -> None:
    def linger(handler: BaseHTTPRequestHandler, _: int) -> None:
        time.sleep(1)
        reply(handler, 200)

    with serving(linger) as site:
        with Load([site.url], rate=20, seconds=60, record=record):
            deadline = time.monotonic() + DEADLINE
            while len(site.paths) < 5:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        lines = read(record)
    assert 5 <= len(site.paths) == len(lines) < 1000
    assert {line["status"] for line in lines} == {200}


def test_a_crashed_load_is_not_taken_for_a_quiet_one(tmp_path: Path, free_port: Callable[[], int]) -> None:
    load = Load(
        [f"http://127.0.0.1:{free_port()}"], rate=1, seconds=1, record=tmp_path / "none" / "load.jsonl"
    )
    load.start()
    with pytest.raises(subprocess.CalledProcessError):
        load.wait()
