"""The runner of releases finds what `davy deploy` made, and leaves what was removed or given to a pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.runner import Runner
from prefect.settings import get_current_settings

from deployments import deploy_served, prefect_api
from deployments.deploy_served import keep_serving
from tasks.domain.settings import settings
from tests.rig.engine import start_engine

WITHIN = 20.0


@pytest.fixture
def pool(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A work pool of a server that has no deployments of `davy deploy`."""
    start_engine(request)
    del home
    monkeypatch.setenv("DAVY_PREFECT_PORT", str(httpx.URL(str(get_current_settings().api.url)).port))
    monkeypatch.setattr("deployments.deploy_served.LOOK", 0.05)
    settings.cache_clear()
    pools = f"{prefect_api.api_url()}/work_pools"
    httpx.post(f"{pools}/", json={"name": "served", "type": "process"}, timeout=60).raise_for_status()
    yield "served"
    for one in prefect_api.deployments_tagged(prefect_api.MADE):
        prefect_api.delete_deployment(one["id"])
    httpx.delete(f"{pools}/served", timeout=60).raise_for_status()


def make(name: str, pool: str | None = None, tag: str = prefect_api.MADE) -> UUID:
    content = {"name": name, "tags": [tag], "work_pool_name": pool}
    return UUID(prefect_api.write_deployment("canary", content))


async def until(fulfilled: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not fulfilled():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.02)


def test_what_is_made_is_served_and_what_is_removed_or_given_to_a_pool_is_not(pool: str) -> None:
    async def follow() -> None:
        runner = Runner(name="test")
        serving = asyncio.create_task(keep_serving(runner))
        served = runner._deployment_registry.get_deployment_ids
        shop, cart = make("shop"), make("cart")
        others = {make("mail", pool), make("theirs", tag="theirs")}
        await until(lambda: served() == {shop, cart})
        make("shop", pool)
        await until(lambda: served() == {cart})
        prefect_api.delete_deployment(str(cart))
        await until(lambda: served() == set())
        assert not served() & others
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(follow())


def test_what_the_runner_serves_by_itself_stays(pool: str) -> None:
    del pool

    async def follow() -> None:
        runner = Runner(name="test")
        own = make("davy", tag="theirs")
        runner._deployment_registry.register_deployment(own)
        serving = asyncio.create_task(keep_serving(runner))
        shop = make("shop")
        await until(lambda: runner._deployment_registry.get_deployment_ids() == {own, shop})
        prefect_api.delete_deployment(str(shop))
        await until(lambda: runner._deployment_registry.get_deployment_ids() == {own})
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        prefect_api.delete_deployment(str(own))

    asyncio.run(follow())


def test_a_server_that_is_away_is_asked_again(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del pool
    away = 2

    async def follow() -> None:
        nonlocal away
        ask = deploy_served.deployed

        async def deployed(client: object) -> set[UUID]:
            nonlocal away
            away -= 1
            if away >= 0:
                message = "away"
                raise httpx.ConnectError(message)
            return await ask(client)  # type: ignore[arg-type]

        monkeypatch.setattr(deploy_served, "deployed", deployed)
        runner = Runner(name="test")
        shop = make("shop")
        serving = asyncio.create_task(keep_serving(runner))
        await until(lambda: runner._deployment_registry.get_deployment_ids() == {shop})
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(follow())
