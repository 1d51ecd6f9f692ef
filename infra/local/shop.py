# ruff: noqa: INP001 - run as a script
"""The demo shop: a small web service on SQLite whose version's name says how good it is.

``python infra/local/shop.py --port 8000 --version 2.0 --database shop.sqlite``

Every version is good unless its name ends as one of `Fault`. All replicas and versions of a
service share one database file, as they would share one database in production.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import random
import signal
import socket
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from enum import StrEnum
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOME = Path(os.environ.get("DAVY_HOME", "."))
PRODUCTS = ("lamp", "wick", "oil", "glass", "gauze", "hook", "helmet", "rope", "pick", "boots")
ERROR_PART = 0.05
SLOW_PART = 0.04  # above 1 %, so that the 99th percentile sees it, and the median does not
SLOW_SECONDS = 0.8
LEAKED_BYTES = 384 * 1024  # for each request
MEMORY_LIMIT = 200 * LEAKED_BYTES
LEAVING_SECONDS = 0.5
IDLE_SECONDS = 2 * 3600  # longer than proxies keep idle connections, so that they close first


class Fault(StrEnum):
    """What is wrong with a version whose name ends in a dash and this."""

    ERRORS = "errors"  # some requests answer 500
    DOWN = "down"  # all of them do
    SLOW = "slow"  # a few requests take long
    LEAK = "leak"  # memory grows with each request until the process is killed
    SICK = "sick"  # never healthy
    BROKEN = "broken"  # ends at its start

    @classmethod
    def of(cls, version: str) -> Fault | None:
        """The fault of *version*; None when it is good."""
        return next((fault for fault in cls if version.endswith(f"-{fault}")), None)


class Database:
    """Products and orders. Reads are short enough for the event loop; writes wait their turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # The first connection of several processes must not switch to WAL at the same time.
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(
                    "CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT NOT NULL);"
                    "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, version TEXT NOT NULL,"
                    " product INTEGER NOT NULL REFERENCES products);"
                )
                connection.executemany(
                    "INSERT OR IGNORE INTO products VALUES (?, ?)", enumerate(PRODUCTS, start=1)
                )
            self._reader = self._connect()
            self._writer = self._connect()
        self._turn = ThreadPoolExecutor(max_workers=1)

    def products(self) -> list[dict[str, object]]:
        """Everything on sale."""
        rows = self._reader.execute("SELECT id, name FROM products ORDER BY id")
        return [{"id": number, "name": name} for number, name in rows]

    def product(self, number: int) -> dict[str, object] | None:
        """One product, or None."""
        row = self._reader.execute("SELECT id, name FROM products WHERE id = ?", (number,)).fetchone()
        return {"id": row[0], "name": row[1]} if row else None

    async def order(self, version: str, product: int) -> int:
        """Write an order; its number."""
        return await asyncio.get_running_loop().run_in_executor(self._turn, self._insert, version, product)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _insert(self, version: str, product: int) -> int:
        row = "INSERT INTO orders (version, product) VALUES (?, ?)"
        return int(self._writer.execute(row, (version, product)).lastrowid or 0)


class Shop:
    """The routes of one replica."""

    def __init__(self, version: str, database: Database) -> None:
        self.version = version
        self.fault = Fault.of(version)
        self.leaving = False
        self._database = database
        self._leaked: list[bytes] = []
        self._random = random.Random()  # noqa: S311 - faults, not secrets

    def app(self) -> ASGIApp:
        """The web application; every answer names the version."""
        routes = [
            Route("/products", self._products),
            Route("/products/{number:int}", self._product),
            Route("/orders", self._order, methods=["POST"]),
            Route("/health", self._health),
        ]
        return self._labelled(Starlette(routes=routes))

    def _labelled(self, app: ASGIApp) -> ASGIApp:
        version = (b"x-version", self.version.encode())

        async def labelled(scope: Scope, receive: Receive, send: Send) -> None:
            async def label(message: Message) -> None:
                if message["type"] == "http.response.start":
                    closes = [(b"connection", b"close")] if self.leaving else []
                    message["headers"] = [*message["headers"], version, *closes]
                await send(message)

            await app(scope, receive, label)

        return labelled

    async def _products(self, _: Request) -> JSONResponse:
        await self._suffer()
        return JSONResponse(self._database.products())

    async def _product(self, request: Request) -> JSONResponse:
        await self._suffer()
        product = self._database.product(request.path_params["number"])
        if product is None:
            raise HTTPException(404)
        return JSONResponse(product)

    async def _order(self, request: Request) -> JSONResponse:
        await self._suffer()
        try:
            number = int((await request.json())["product"])
        except (ValueError, KeyError, TypeError) as error:
            raise HTTPException(400, 'expected {"product": number}') from error
        if self._database.product(number) is None:
            raise HTTPException(404)
        order = await self._database.order(self.version, number)
        return JSONResponse({"order": order}, status_code=201)

    async def _health(self, _: Request) -> JSONResponse:
        well = not self.leaving and self.fault is not Fault.SICK
        return JSONResponse({"well": well}, status_code=200 if well else 503)

    async def _suffer(self) -> None:
        """Do to this request what the version's fault does."""
        unlucky = self.fault is Fault.ERRORS and self._random.random() < ERROR_PART
        if unlucky or self.fault is Fault.DOWN:
            raise HTTPException(500, "this version has a bug")
        if self.fault is Fault.SLOW and self._random.random() < SLOW_PART:
            await asyncio.sleep(SLOW_SECONDS)
        if self.fault is Fault.LEAK:
            self._leaked.append(b"x" * LEAKED_BYTES)
            if len(self._leaked) * LEAKED_BYTES >= MEMORY_LIMIT:
                os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is out


class Server(uvicorn.Server):
    """Tells its clients to go before it closes their connections."""

    def __init__(self, shop: Shop, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                shop.app(),
                host=host,
                port=port,
                lifespan="off",
                log_level="warning",
                access_log=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        self._shop = shop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer ``connection: close`` for a moment, then finish what is in flight."""
        self._shop.leaving = True
        await asyncio.sleep(LEAVING_SECONDS)
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The demo shop.")
    parser.add_argument("--host", default="127.0.0.1", help="the address that it listens on")
    parser.add_argument("--port", type=int, required=True, help="where it listens there")
    parser.add_argument("--version", required=True, help="its name; ends in -errors, -slow, ... for a fault")
    parser.add_argument(
        "--database", type=Path, required=True, help="SQLite file; a relative one counts from DAVY_HOME"
    )
    options = parser.parse_args()
    if Fault.of(options.version) is Fault.BROKEN:
        sys.exit(f"shop {options.version}: found no setting PAYMENT_URL, expected an address")
    for number in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal again once it has served: that must end in exit code 0.
        signal.signal(number, lambda *_: sys.exit(0))
    Server(Shop(options.version, Database(HOME / options.database)), options.host, options.port).run()


if __name__ == "__main__":
    main()
