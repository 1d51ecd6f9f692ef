"""Gives Prefect the releases that merges asked for, each once, however often it is killed meanwhile.

Prefect is asked one at a time, since its SQLite does not like writers in a crowd; the idempotency key makes a
release that was sent and not noted as sent the same flow run again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from deployments import prefect_api
from deployments.webhook_images import Registries
from deployments.webhook_settings import WebhookSettings
from deployments.webhook_spool import Release, Spool, State
from tasks.domain.errors import DavyError, PermanentError, TransientError

POLL = 0.2
"""Seconds between two looks for releases."""
BACKOFF, SLOWEST = 0.5, 10.0
"""Seconds after the first try that Prefect did not answer, doubling, and at most."""
UNKNOWN = 30.0
"""Seconds between two tries of a release that Prefect has no deployment for."""
BATCH = 100
"""How many releases are read at a time."""
LOOKS = 8
"""How many images are asked for at the same time."""
TIDY = 3600.0
"""Seconds between two clearings of old deliveries."""
REFUSALS = (httpx.codes.BAD_REQUEST, httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY)
"""What Prefect answers to parameters that it will never take; all else may be set right, and is tried again."""
log = logging.getLogger("davy.webhooks")


class Deployments:
    """The two calls to Prefect's API that start a release."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._found: dict[str, str | None] = {}
        self._url = os.environ.get("PREFECT_API_URL") or prefect_api.api_url()
        self._auth = prefect_api.credentials()

    async def start(self, release: Release) -> str | None:
        """Ask for the flow run of *release*: by the service's own deployment, or else by its flow's.

        Returns:
            The flow run's id, the same one when it was asked for before; None where there is no deployment.

        Raises:
            PermanentError: Prefect will never take it; not retried.
            TransientError: Prefect does not answer; retried.
        """
        for name in (release.service, "davy"):
            deployment = await self._find(f"{release.flow}/{name}")
            if deployment is not None:
                body = {"parameters": release.parameters, "idempotency_key": release.key}
                made = await self._call("POST", f"/deployments/{deployment}/create_flow_run", body)
                if made is not None:
                    return made
        return None

    def forget(self) -> None:
        """Ask for deployments again, which come and go."""
        self._found.clear()

    async def _find(self, name: str) -> str | None:
        if name not in self._found:
            self._found[name] = await self._call("GET", f"/deployments/name/{name}")
        return self._found[name]

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> str | None:
        """The id of what the server answers; None where it does not know what *path* names."""
        try:
            answer = await self._client.request(method, f"{self._url}{path}", json=body, auth=self._auth)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            if answer.is_success and isinstance(content := answer.json(), dict) and "id" in content:
                return str(content["id"])
        except httpx.HTTPError as error:
            msg = f"Prefect's server: found {type(error).__name__}, expected an answer from {self._url}"
            raise TransientError(msg) from error
        except ValueError as error:
            msg = f"{self._url}: found something that is not Prefect's server, expected it"
            raise TransientError(msg) from error
        msg = f"Prefect's server: {method} {path} answered {answer.status_code}"
        if answer.status_code in REFUSALS:
            msg = f"{msg}: {answer.text[:400]}"
            raise PermanentError(msg)
        raise TransientError(msg)


class Dispatcher:
    """Takes what is due from the spool: waits for images, and starts flow runs."""

    def __init__(self, spool: Spool, options: WebhookSettings) -> None:
        self._spool = spool
        self._options = options
        self._at_once = asyncio.Semaphore(LOOKS)

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with (
            httpx.AsyncClient(timeout=10) as prefect,
            httpx.AsyncClient(timeout=10, follow_redirects=True) as web,
            asyncio.TaskGroup() as tasks,
        ):
            deployments, registries = Deployments(prefect), Registries(web, self._options.docker_config)
            tasks.create_task(self._repeat(lambda: self._send(deployments)))
            tasks.create_task(self._repeat(lambda: self._look(registries)))
            tasks.create_task(self._repeat(self._tidy))

    async def _repeat(self, one_round: Callable[[], Awaitable[float]]) -> None:
        """Do rounds for ever; what goes wrong in one is said, and the next one tries again."""
        while True:
            try:
                pause = await one_round()
            except DavyError as error:
                log.warning("%s", error)
                pause = SLOWEST
            except Exception:
                log.exception("merges: a round failed")
                pause = SLOWEST
            await asyncio.sleep(pause)

    async def _send(self, deployments: Deployments) -> float:
        """Start what is ready; where Prefect does not answer, the rest is left for the next round.

        Returns:
            Seconds to wait before that.
        """
        deployments.forget()
        found = await asyncio.to_thread(self._spool.due, State.READY, BATCH)
        for release in found:
            try:
                run = await deployments.start(release)
            except PermanentError as error:
                log.error("%s: %s", release.key, error)  # noqa: TRY400 - the answer is all there is to tell
                await asyncio.to_thread(self._spool.refused, release, str(error))
            except TransientError as error:
                after = min(BACKOFF * 2.0 ** min(release.tries, 10), SLOWEST)
                log.warning("%s: %s; trying again in %g s", release.key, error, after)
                await asyncio.to_thread(self._spool.try_again, release, str(error), after)
                return after
            else:
                await self._sent(release, run)
        return 0 if len(found) == BATCH else POLL

    async def _sent(self, release: Release, run: str | None) -> None:
        if run is not None:
            log.info("%s: flow run %s", release.key, run)
            await asyncio.to_thread(self._spool.started, release, run)
            return
        reason = f"Prefect has no deployment {release.flow}/{release.service} and no {release.flow}/davy"
        log.warning("%s: %s; trying again in %g s", release.key, reason, UNKNOWN)
        await asyncio.to_thread(self._spool.try_again, release, reason, UNKNOWN)

    async def _look(self, registries: Registries) -> float:
        """Look for the images that releases wait for.

        Returns:
            Seconds to wait before the next round.
        """
        found = await asyncio.to_thread(self._spool.due, State.WAITING, BATCH)
        await asyncio.gather(*(self._look_for(registries, release) for release in found))
        return POLL

    async def _look_for(self, registries: Registries, release: Release) -> None:
        reason = f"{release.image}: not in its registry"
        there = False
        try:
            async with self._at_once:
                there = await registries.has(release.image or "")
        except DavyError as error:
            reason = f"{release.image}: {error}"
        if there:
            log.info("%s: %s is there", release.key, release.image)
            await asyncio.to_thread(self._spool.ready, release)
        elif time.time() >= release.until:
            waited = round(release.until - release.at)
            log.error("%s: %s after %d s, so it is not released", release.key, reason, waited)
            await asyncio.to_thread(self._spool.refused, release, f"{reason} after {waited} s")
        else:
            after = self._options.image_poll.total_seconds()
            await asyncio.to_thread(self._spool.try_again, release, reason, after)

    async def _tidy(self) -> float:
        await asyncio.to_thread(self._spool.forget, self._options.remember.total_seconds())
        return TIDY
