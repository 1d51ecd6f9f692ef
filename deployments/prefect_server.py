"""Prefect's own server, whose writers take turns where its database is SQLite.

``python -m deployments.prefect_server`` is ``prefect server start``, with its options. On SQLite, Prefect's transactions
begin as readers, and one that comes to write after another has written since, or while another writes, is refused at
once ("database is locked"): a click on Submit is then answered with 503. Beside two small writers that was more than
half of them, measured. Here each transaction takes its turn before it reads, and so is never refused.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

from prefect.cli import app
from prefect.server.database import configurations
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
_has_turn: ContextVar[bool] = ContextVar("has_turn", default=False)
_begin = AioSqliteConfiguration.begin_transaction


@asynccontextmanager
async def begin_in_turn(
    config: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,  # noqa: FBT001, FBT002 - Prefect's
) -> AsyncGenerator[AsyncSessionTransaction]:
    """Begin a transaction once the ones before it have ended; one within another begins as Prefect has it."""
    if _has_turn.get():
        async with _begin(config, session, with_for_update) as transaction:
            yield transaction
        return
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        token = _has_turn.set(True)
        try:
            async with _begin(config, session, with_for_update=True) as transaction:
                await session.connection()
                configurations.SQLITE_BEGIN_MODE.set("DEFERRED")  # for those within
                yield transaction
        finally:
            _has_turn.reset(token)


def take_turns() -> None:
    """From now on the transactions of this process's server begin in turn."""
    AioSqliteConfiguration.begin_transaction = begin_in_turn  # type: ignore[assignment, method-assign]


def main() -> None:
    """Run Prefect's server."""
    take_turns()
    sys.argv[1:1] = ["server", "start"]
    app()


if __name__ == "__main__":
    main()
