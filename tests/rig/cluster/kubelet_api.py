"""What the rig's kubelet asks of the API server."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from tests.rig.cluster.looping import GOODBYE

Json = dict[str, Any]

STRATEGIC = "application/strategic-merge-patch+json"
_ANSWERS_WITHIN = aiohttp.ClientTimeout(total=5)
_NO_LIMIT = aiohttp.ClientTimeout(sock_connect=5)
_LONGEST_LINE = 1 << 22


class RefusedError(Exception):
    """The API server answered with an error.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


TROUBLE = (RefusedError, aiohttp.ClientError, OSError, json.JSONDecodeError)
"""Whatever may be different the next time; a timeout is an OSError, half an answer no JSON."""


class Api:
    """JSON in and out, with the rights of a kubeconfig with a token; used in one thread.

    Args:
        kubeconfig: As the control plane of the rig writes it.
    """

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster = content["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server: str = cluster["server"]
        self._trust = ssl.create_default_context(cadata=authority)
        self._headers = {"Authorization": f"Bearer {content['users'][0]['user']['token']}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._server,
            connector=aiohttp.TCPConnector(ssl=self._trust, limit=20),
            headers=self._headers,
            read_bufsize=_LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened().close()
        await asyncio.sleep(GOODBYE * 2)  # connections that were given up before have closed by then

    async def ask(
        self, method: str, path: str, body: Json | None = None, kind: str = "application/json"
    ) -> Json:
        """One request.

        Raises:
            RefusedError: The server says no.
        """
        headers = {"Content-Type": kind} if body is not None else {}
        data = None if body is None else json.dumps(body)
        async with self._opened().request(
            method, path, data=data, headers=headers, timeout=_ANSWERS_WITHIN
        ) as answer:
            text = await answer.text()
        if answer.status >= 400:
            raise RefusedError(answer.status, text)
        found: Json = json.loads(text)
        return found

    async def find(self, path: str) -> Json | None:
        """An object; None if there is no such one."""
        try:
            return await self.ask("GET", path)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Json]:
        """Events as they come, until the server ends them.

        Raises:
            RefusedError: The server has no events from there any more.
        """
        asked = {"watch": "1", "timeoutSeconds": "300", **query}
        async with self._opened().get(path, params=asked, timeout=_NO_LIMIT) as answer:
            if answer.status >= 400:
                raise RefusedError(answer.status, await answer.text())
            async for line in answer.content:
                event: Json = json.loads(line)
                if event["type"] == "ERROR":
                    raise RefusedError(event["object"].get("code", 500), line.decode())
                yield event

    def _opened(self) -> aiohttp.ClientSession:
        assert self._session, "the API's session: not open"
        return self._session


async def calmly(pause: float = 0.1) -> None:
    """Wait before the next try."""
    await asyncio.sleep(pause)
