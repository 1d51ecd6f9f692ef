# ruff: noqa: INP001 - run as a script
"""Users of the demo shop: requests at a constant rate, whatever the answers are.

``python infra/local/load.py --rate 100 --seconds 60 --record load.jsonl http://127.0.0.1:8081``

A request is sent when it is due, also when earlier ones have not been answered; its duration
counts from then. One in five is an order. Some users return, with their cookies. Nothing is
tried twice. Each request leaves one JSON line in the record:

    {"time": 1760000000.123, "url": "http://.../products/3", "status": 200, "error": null,
     "version": "1.0", "duration": 3.1}

``time`` is when it was due (epoch seconds), ``duration`` is in milliseconds, ``status`` and
``version`` (the answer's x-version header) are null when no answer came.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import aiohttp

PATIENCE = 5  # seconds that a user waits for an answer
RETURNING = 10  # users of each service that keep their cookies
PRODUCTS = 10
GRACE = 5  # seconds for the process's end, after the last answers


class Load:
    """The load as a process of its own; a context manager that stops it.

    Args:
        urls: Base addresses of services.
        rate: Requests per second, to each of them.
        seconds: When it stops by itself.
        record: The file that its lines are appended to.
        patience: Seconds that a user waits for an answer.
    """

    def __init__(
        self, urls: Sequence[str], *, rate: int, seconds: float, record: Path, patience: float = PATIENCE
    ) -> None:
        self.record = record
        self._patience = patience
        options = [f"--rate={rate}", f"--seconds={seconds}", f"--record={record}", f"--patience={patience}"]
        self._command = [sys.executable, str(Path(__file__).absolute()), *options, *urls]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin; returns at once.

        In a session of its own, so that where Linux shares out the processor by session, the starter's other children
        do not slow its users down.
        """
        self._process = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603 - our own file

    def wait(self) -> None:
        """Return once it has ended by itself.

        Raises:
            CalledProcessError: It crashed, so its record says too little; not retried.
        """
        process, self._process = self._process, None
        if process and (code := process.wait()) not in (0, -signal.SIGTERM):
            raise subprocess.CalledProcessError(code, self._command)

    def stop(self) -> None:
        """End it once its last requests are answered; nothing under way is no error.

        Raises:
            CalledProcessError: It crashed, or did not end; not retried.
        """
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._patience + GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _NoAnswerError(aiohttp.ClientError):
    """The connection broke. Not the client's own error, with which it would send a GET again."""


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        msg = f"{type(error).__name__}: {error}"
        raise _NoAnswerError(msg) from error


class _Users:
    """Draws requests, sends them, and records what came of them."""

    def __init__(self, sessions: dict[str, list[aiohttp.ClientSession]], record: TextIO) -> None:
        self._sessions = sessions
        self._record = record
        self._random = random.Random()  # noqa: S311 - traffic, not secrets

    async def send(self, base: str, due: float) -> None:
        """Send one request to *base*."""
        session = self._random.choice(self._sessions[base])
        product = self._random.randint(1, PRODUCTS)
        [path] = self._random.choices(("/products", f"/products/{product}", "/orders"), (2, 2, 1))
        order = {"product": product} if path == "/orders" else None
        line: dict[str, object] = {"time": round(due, 3), "url": base + path}
        line |= {"status": None, "error": None, "version": None}
        try:
            async with session.request("POST" if order else "GET", base + path, json=order) as answer:
                await answer.read()
                line |= {"status": answer.status, "version": answer.headers.get("x-version")}
        except _NoAnswerError as error:
            line["error"] = str(error)
        except (aiohttp.ClientError, TimeoutError) as error:
            line["error"] = f"{type(error).__name__}: {error}"
        line["duration"] = round((time.time() - due) * 1000, 1)
        self._record.write(json.dumps(line) + "\n")


async def _open(
    stack: AsyncExitStack, urls: Sequence[str], patience: float
) -> dict[str, list[aiohttp.ClientSession]]:
    """By service: as many users without cookies as such that return with theirs."""
    connector = await stack.enter_async_context(aiohttp.TCPConnector(limit=0, keepalive_timeout=3600))
    sessions: dict[str, list[aiohttp.ClientSession]] = {}
    for url in urls:
        jars: list[aiohttp.abc.AbstractCookieJar] = [aiohttp.CookieJar(unsafe=True) for _ in range(RETURNING)]
        jars += [aiohttp.DummyCookieJar()] * RETURNING
        sessions[url] = [
            await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=connector,
                    connector_owner=False,
                    cookie_jar=jar,
                    timeout=aiohttp.ClientTimeout(total=patience),
                    middlewares=[_once],
                )
            )
            for jar in jars
        ]
    return sessions


async def run(urls: Sequence[str], rate: int, seconds: float, record: Path, patience: float) -> None:
    """Send until time is up or a signal comes, then wait for the last answers."""
    end = asyncio.Event()
    for caught in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(caught, end.set)
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(record.open("a", buffering=1))
        users = _Users(await _open(stack, urls, patience), lines)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        began = time.time()
        pace = rate * len(urls)
        for number, url in zip(range(int(pace * seconds)), itertools.cycle(urls), strict=False):
            due = began + number / pace
            with suppress(TimeoutError):
                if due > time.time():
                    await asyncio.wait_for(end.wait(), due - time.time())
            if end.is_set():
                break
            tasks.create_task(users.send(url, due))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Users of the demo shop.")
    parser.add_argument("--rate", type=int, required=True, help="requests per second, to each URL")
    parser.add_argument("--seconds", type=float, required=True, help="how long")
    parser.add_argument("--record", type=Path, required=True, help="file that gets a JSON line per request")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        help="seconds that a user waits for an answer (%(default)s)",
    )
    parser.add_argument("urls", nargs="+", metavar="URL", help="a service's address")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    urls = [url.rstrip("/") for url in options.urls]
    asyncio.run(run(urls, options.rate, options.seconds, options.record, options.patience))


if __name__ == "__main__":
    main()
