"""Probes: whether a container is well, asked again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp

from tests.rig.cluster.kubelet_api import Json

Ask = Callable[[], Awaitable[bool]]
Exec = Callable[[list[str]], Awaitable[int]]

_FIRST_PERIOD = 0.1
"""Seconds between two questions, at the least, until one is answered well."""
_LEAST_PERIOD = 0.2
"""Likewise after that, so that many pods in a hurry do not keep the machine busy."""


async def results(probe: Json, ask: Ask, hurry: float) -> AsyncIterator[bool]:
    """The probe's result each time that enough answers in a row have confirmed it.

    Args:
        hurry: What delays and periods are divided by; an answer may take as long as the probe says.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds", 0) / hurry)
    period = probe.get("periodSeconds", 10) / hurry
    least, in_a_row, before = _FIRST_PERIOD, 0, None
    while True:
        well = await _in_time(ask, probe.get("timeoutSeconds", 1))
        in_a_row = in_a_row + 1 if well == before else 1
        before = well
        needed = probe.get("successThreshold", 1) if well else probe.get("failureThreshold", 3)
        if in_a_row >= needed:
            yield well
        least = _LEAST_PERIOD if well else least
        await asyncio.sleep(max(period, least))


def question(probe: Json, container: Json, address: str, session: aiohttp.ClientSession, run: Exec) -> Ask:
    """What the probe asks of a container whose process is at *address*.

    Raises:
        ValueError: The rig does not know this kind of probe.
    """
    if "httpGet" in probe:
        return lambda: _answers(probe["httpGet"], container, address, session)
    if "tcpSocket" in probe:
        return lambda: _listens(address, port_of(probe["tcpSocket"]["port"], container))
    if "exec" in probe:

        async def succeeds() -> bool:
            return await run(probe["exec"]["command"]) == 0

        return succeeds
    message = f"probe of {container['name']}: found {sorted(probe)}, expected httpGet, tcpSocket or exec"
    raise ValueError(message)


def port_of(port: int | str, container: Json) -> int:
    """A port by number or by its name in the container.

    Raises:
        ValueError: The container has no port of that name.
    """
    for each in container.get("ports", ()):
        if each.get("name") == port:
            return int(each["containerPort"])
    return int(port)


async def _in_time(ask: Ask, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await ask()
    except (
        OSError,
        aiohttp.ClientError,
        ValueError,
    ):  # a timeout is an OSError, an unknown port a ValueError
        return False


async def _answers(get: Json, container: Json, address: str, session: aiohttp.ClientSession) -> bool:
    port = port_of(get["port"], container)
    url = f"{get.get('scheme', 'HTTP').lower()}://{address}:{port}/{get.get('path', '').removeprefix('/')}"
    headers = {each["name"]: each["value"] for each in get.get("httpHeaders", ())}
    asked = {"User-Agent": "kube-probe/rig", **headers}
    async with session.get(url, headers=asked, allow_redirects=False, ssl=False) as answer:
        return 200 <= answer.status < 400


async def _listens(address: str, port: int) -> bool:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True
