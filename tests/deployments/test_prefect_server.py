"""SQLite's writers take turns: what one read is still true when it writes, and none is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from deployments.prefect_server import begin_in_turn

Begin = Callable[..., AbstractAsyncContextManager[Any]]

WRITERS = 20


@pytest.fixture
def config(tmp_path: Path) -> AioSqliteConfiguration:
    """Of a database in a file, as the server has it."""
    return AioSqliteConfiguration(f"sqlite+aiosqlite:///{tmp_path}/prefect.db")


async def _session(config: AioSqliteConfiguration) -> AsyncSession:
    return await config.session(await config.engine())


async def _count_up(config: AioSqliteConfiguration, begin: Begin) -> None:
    """Read, let the others run, and write what was read plus one."""
    async with await _session(config) as session, begin(config, session):
        found = (await session.execute(text("SELECT n FROM counter"))).scalar_one()
        await asyncio.sleep(0.01)
        await session.execute(text("UPDATE counter SET n = :n"), {"n": found + 1})


async def _counter(config: AioSqliteConfiguration) -> AsyncEngine:
    engine = await config.engine()
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        await connection.execute(text("INSERT INTO counter VALUES (0)"))
    return engine


async def _all_at_once(config: AioSqliteConfiguration, begin: Begin) -> int:
    engine = await _counter(config)
    try:
        counted = (_count_up(config, begin) for _ in range(WRITERS))
        for error in filter(None, await asyncio.gather(*counted, return_exceptions=True)):
            raise error
        async with engine.connect() as connection:
            return int((await connection.execute(text("SELECT n FROM counter"))).scalar_one())
    finally:
        await engine.dispose()


def test_none_of_many_writers_is_refused_and_none_is_lost(config: AioSqliteConfiguration) -> None:
    assert asyncio.run(_all_at_once(config, begin_in_turn)) == WRITERS


def test_without_turns_they_are_refused(config: AioSqliteConfiguration) -> None:
    """Should Prefect mend this itself, the module can go."""
    with pytest.raises(OperationalError, match="database is locked"):
        asyncio.run(_all_at_once(config, AioSqliteConfiguration.begin_transaction))


def test_what_is_read_or_begun_within_a_turn_waits_for_none(config: AioSqliteConfiguration) -> None:
    async def within() -> list[int]:
        engine = await _counter(config)
        found = []
        async with await _session(config) as session, begin_in_turn(config, session):
            await session.execute(text("UPDATE counter SET n = 1"))
            async with await _session(config) as inner:
                found.append((await inner.execute(text("SELECT n FROM counter"))).scalar_one())
            async with await _session(config) as inner, begin_in_turn(config, inner):
                found.append((await inner.execute(text("SELECT n FROM counter"))).scalar_one())
        await engine.dispose()
        return found

    assert asyncio.run(asyncio.wait_for(within(), 20)) == [0, 0]


def test_a_turn_that_fails_is_given_on(config: AioSqliteConfiguration) -> None:
    async def fail_then_count() -> None:
        engine = await _counter(config)
        with pytest.raises(ZeroDivisionError):
            async with await _session(config) as session, begin_in_turn(config, session):
                raise ZeroDivisionError
        await _count_up(config, begin_in_turn)
        await engine.dispose()

    asyncio.run(asyncio.wait_for(fail_then_count(), 20))
