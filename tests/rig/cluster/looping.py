"""An asyncio program in a thread of its own, beside tests that know nothing of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Self

Program = Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]
"""Gets what it calls once it works, and an event that is set when it is to end."""


GOODBYE = 0.1
"""Seconds that the other side of an encrypted connection has to confirm its end; a frozen one never does."""


class Looping:
    """Runs a program until it is left; what the program raises is raised here."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._working: Future[asyncio.AbstractEventLoop] = Future()
        self._over: asyncio.Event | None = None
        self._ended: Future[None] | None = None

    def __enter__(self) -> Self:
        pool = ThreadPoolExecutor(1)
        self._ended = pool.submit(self._begin)
        pool.shutdown(wait=False)
        wait([self._working, self._ended], return_when=FIRST_COMPLETED)
        if not self._working.done():
            self._ended.result()
        return self

    def __exit__(self, *_: object) -> None:
        if self._over and self._ended and not self._ended.done():
            self.call(self._over.set)
        if self._ended:
            self._ended.result()

    def call(self, act: Callable[..., object], *arguments: object) -> None:
        """Have the program's thread do something soon."""
        self._working.result().call_soon_threadsafe(act, *arguments)

    def _begin(self) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        await self._program(lambda: self._works(loop), self._over)

    def _works(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._working.done():
            self._working.set_result(loop)


class _Loop(asyncio.SelectorEventLoop):
    """Closes connections in little time."""

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as inherited
        """Connect as usual."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", GOODBYE)
        return await super().create_connection(*arguments, **options)
