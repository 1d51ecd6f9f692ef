"""The runner of releases carries the runs of deployments that `davy deploy` made without a work pool."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.exceptions import PrefectException
from prefect.runner import Runner

from deployments.prefect_api import MADE

LOOK = 2.0
"""Seconds between two looks for deployments that were made or removed."""

log = logging.getLogger("prefect.davy")


async def keep_serving(runner: Runner) -> None:
    """Follow what `davy deploy` does, until the process is ended."""
    served: set[UUID] = set()
    while True:
        try:
            async with get_client() as client:
                there = await deployed(client)
        except (httpx.HTTPError, PrefectException) as error:
            log.warning("deployments of davy deploy: %s; looking again", error)
        else:
            follow(runner, served, there)
            served = there
        await asyncio.sleep(LOOK)


async def deployed(client: PrefectClient) -> set[UUID]:
    """The deployments that `davy deploy` made and that no work pool carries."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[MADE]))
    found: set[UUID] = set()
    offset = 0
    while page := await client.read_deployments(deployment_filter=tagged, offset=offset):
        found |= {one.id for one in page if one.work_pool_name is None}
        offset += len(page)
    return found


def follow(runner: Runner, served: set[UUID], there: set[UUID]) -> None:
    """Have the runner look for runs of *there*, and no more for those of *served* that are not among them.

    Prefect's runner has no public way to serve a deployment that others made, nor to leave one.
    """
    registry = runner._deployment_registry  # noqa: SLF001
    for deployment in there - served:
        registry.register_deployment(deployment)
        log.info("deployment %s: its runs are carried here", deployment)
    for deployment in served - there:
        registry._deployment_ids.discard(deployment)  # noqa: SLF001
        log.info("deployment %s: its runs are not carried here any more", deployment)
