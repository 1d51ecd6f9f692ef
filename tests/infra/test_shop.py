"""The demo shop's versions behave as their names say; a good one fails nobody."""

from __future__ import annotations

import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from deployments.observations import experience
from infra.local.load import Load
from infra.local.shop import ERROR_PART, LEAKED_BYTES, SLOW_PART, SLOW_SECONDS
from tasks.domain.model import Window

SHOP = Path(__file__).parents[2] / "infra" / "local" / "shop.py"
DEADLINE = 20


@dataclass(frozen=True)
class Replica:
    """A running shop."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.port}"

    def health(self) -> int | None:
        """The status that its health check answers; None without an answer."""
        try:
            return httpx.get(f"{self.url}/health").status_code
        except httpx.TransportError:
            return None

    def await_answer(self) -> None:
        """Return once it answers."""
        await_that(lambda: self.health() is not None)


Start = Callable[[str], Replica]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "shop.sqlite"


@pytest.fixture
def start(database: Path, free_port: Callable[[], int], tmp_path: Path) -> Iterator[Start]:
    """Starts a replica of a version, without waiting for it; all of them share one database."""
    replicas: list[Replica] = []

    def begin(version: str) -> Replica:
        port = free_port()
        log = tmp_path / f"{port}.log"
        options = ["--port", str(port), "--version", version, "--database", str(database)]
        with log.open("wb") as output:
            process = subprocess.Popen([sys.executable, str(SHOP), *options], stderr=output)
        replicas.append(Replica(port, process, log))
        return replicas[-1]

    yield begin
    for replica in replicas:
        replica.process.kill()
        replica.process.wait()


def await_that(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_order_is_seen_by_the_other_replica(start: Start, database: Path) -> None:
    one, other = start("1.0"), start("2.0")
    one.await_answer()
    other.await_answer()
    first = httpx.post(f"{one.url}/orders", json={"product": 3})
    second = httpx.post(f"{other.url}/orders", json={"product": 3})
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["order"] == first.json()["order"] + 1
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT version, product FROM orders ORDER BY id").fetchall()
    assert rows == [("1.0", 3), ("2.0", 3)]


def test_products_can_be_read(start: Start) -> None:
    shop = start("1.0")
    shop.await_answer()
    listed = httpx.get(f"{shop.url}/products").json()
    assert httpx.get(f"{shop.url}/products/{listed[2]['id']}").json() == listed[2]


@pytest.mark.parametrize("path", ["/health", "/products", "/products/999", "/nowhere"])
def test_every_answer_names_its_version(start: Start, path: str) -> None:
    shop = start("1.0")
    shop.await_answer()
    assert httpx.get(shop.url + path).headers["x-version"] == "1.0"


def test_a_wrong_order_is_the_users_error(start: Start) -> None:
    shop = start("1.0")
    shop.await_answer()
    statuses = [
        httpx.post(f"{shop.url}/orders", content=body).status_code
        for body in ("", "[]", "{}", '{"product": "x"}', '{"product": 999}')
    ]
    assert statuses == [400, 400, 400, 400, 404]


def test_orders_wait_for_a_locked_database_and_reads_do_not(start: Start, database: Path) -> None:
    shop = start("1.0")
    shop.await_answer()
    with closing(sqlite3.connect(database, isolation_level=None)) as other, ThreadPoolExecutor(8) as pool:
        other.execute("BEGIN IMMEDIATE")
        orders = [pool.submit(httpx.post, f"{shop.url}/orders", json={"product": 1}) for _ in range(8)]
        assert httpx.get(f"{shop.url}/products").status_code == 200
        assert not any(order.done() for order in orders)
        other.execute("COMMIT")
        assert [order.result().status_code for order in orders] == [201] * 8


def test_replicas_can_start_together_on_a_new_database(start: Start) -> None:
    replicas = [start("1.0") for _ in range(6)]
    for replica in replicas:
        replica.await_answer()
    assert [replica.process.poll() for replica in replicas] == [None] * 6


@pytest.mark.alone
def test_good_replicas_fail_nobody_at_300_requests_a_second(
    start: Start, database: Path, tmp_path: Path
) -> None:
    replicas = [start(version) for version in ("1.0", "1.0", "2.0")]
    for replica in replicas:
        replica.await_answer()
    record = tmp_path / "load.jsonl"
    began = datetime.now(UTC)
    load = Load([replica.url for replica in replicas], rate=100, seconds=5, record=record)
    with load:
        load.wait()
    seen = experience(record, Window(began, datetime.now(UTC)))
    assert (seen.requests, seen.failures) == (1500, ())
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone()[0] > 200


def test_a_replica_in_the_middle_of_an_order_finishes_it_before_it_goes(start: Start) -> None:
    shop = start("1.0")
    shop.await_answer()
    body = b'{"product": 1}'
    head = b"POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", shop.port), timeout=DEADLINE) as connection:
        connection.sendall(head + body[:5])
        shop.process.send_signal(signal.SIGTERM)
        await_that(lambda: shop.health() != 200)
        connection.sendall(body[5:])
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).lower()
    assert answer.startswith(b"http/1.1 201")
    assert b"connection: close" in answer
    assert shop.process.wait(DEADLINE) == 0


def test_a_replica_with_idle_connections_goes_when_told(start: Start) -> None:
    shop = start("1.0")
    shop.await_answer()
    with httpx.Client(base_url=shop.url) as client:
        client.get("/products")
        shop.process.send_signal(signal.SIGTERM)
        assert shop.process.wait(DEADLINE) == 0


def test_errors_fails_about_one_request_in_twenty(start: Start) -> None:
    shop = start("2.0-errors")
    shop.await_answer()
    statuses = [status for status, _ in ask(shop, 1000)]
    # Five standard deviations of the binomial on either side.
    assert 1000 * ERROR_PART - 35 < statuses.count(500) < 1000 * ERROR_PART + 35
    assert set(statuses) == {200, 500}


def test_slow_is_slow_at_the_99th_percentile_only(start: Start) -> None:
    shop = start("2.0-slow")
    shop.await_answer()
    answers = ask(shop, 1000)
    durations = [duration for _, duration in answers]
    slow = sum(duration >= SLOW_SECONDS for duration in durations)
    assert 1000 * SLOW_PART - 22 < slow < 1000 * SLOW_PART + 40
    assert statistics.median(durations) < SLOW_SECONDS / 2
    assert {status for status, _ in answers} == {200}


def test_leak_grows_until_it_is_killed(start: Start) -> None:
    shop = start("2.0-leak")
    shop.await_answer()
    process = psutil.Process(shop.process.pid)
    before = process.memory_info().rss
    with httpx.Client(base_url=shop.url) as client:
        for _ in range(100):
            assert client.get("/products").status_code == 200
        assert process.memory_info().rss - before > 90 * LEAKED_BYTES
        with pytest.raises(httpx.TransportError):
            deque((client.get("/products") for _ in range(500)), maxlen=0)
    assert shop.process.wait(DEADLINE) == -signal.SIGKILL


def test_sick_never_becomes_healthy(start: Start) -> None:
    shop = start("2.0-sick")
    shop.await_answer()
    assert {httpx.get(f"{shop.url}/health").status_code for _ in range(20)} == {503}


def test_broken_ends_at_its_start_and_says_why(start: Start) -> None:
    shop = start("2.0-broken")
    assert shop.process.wait(DEADLINE) == 1
    assert "expected an address" in shop.log.read_text()


@pytest.mark.parametrize("version", ["errors-2.0", "2.0-errors-fixed", "slow", "1.0"])
def test_only_the_end_of_the_name_counts(start: Start, version: str) -> None:
    shop = start(version)
    shop.await_answer()
    assert {status for status, _ in ask(shop, 200)} == {200}


def ask(shop: Replica, times: int) -> list[tuple[int, float]]:
    """Status and seconds of so many requests, four at a time."""
    with httpx.Client(base_url=shop.url) as client, ThreadPoolExecutor(4) as pool:

        def once(_: int) -> tuple[int, float]:
            began = time.monotonic()
            status = client.get("/products/1").status_code
            return status, time.monotonic() - began

        return list(pool.map(once, range(times)))
