"""The way from the API server to the rig's pods: an HTTP CONNECT proxy on a Unix socket.

The API server is told to dial whatever is in the cluster through here (an egress selector), so that
`pods/proxy` works although the pods' addresses exist nowhere. Any other address is refused.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.rig.cluster.addresses import local_address
from tests.rig.cluster.looping import Looping

_LONGEST = 100
"""Characters that a Unix socket's path may have; Linux allows 107."""
_PIECE = 65_536


def selector(address: Path) -> str:
    """The API server's file that sends what goes to the cluster through the proxy at *address*."""
    transport = {"uds": {"udsName": str(address)}}
    return json.dumps(
        {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [
                {
                    "name": "cluster",
                    "connection": {"proxyProtocol": "HTTPConnect", "transport": transport},
                }
            ],
        }
    )


class Egress(Looping):
    """The proxy, until it is left.

    Args:
        address: Path of the socket that it listens on.
    """

    def __init__(self, address: Path) -> None:
        super().__init__(self._serve)
        assert len(str(address)) < _LONGEST, f"{address}: too long for a socket, set TMPDIR to a shorter path"
        self._address = address
        self._tunnels: set[asyncio.Task[None]] = set()

    async def _serve(self, works: Callable[[], None], over: asyncio.Event) -> None:
        server = await asyncio.start_unix_server(self._accept, self._address)
        works()
        await over.wait()
        server.close()
        for tunnel in self._tunnels:
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)
        await server.wait_closed()

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        tunnel = asyncio.create_task(_tunnel(reader, writer))
        self._tunnels.add(tunnel)
        tunnel.add_done_callback(self._tunnels.discard)


async def _tunnel(reader: StreamReader, writer: StreamWriter) -> None:
    """Connect two sides as asked, until one of them has ended."""
    try:
        with suppress(OSError, asyncio.IncompleteReadError):
            asked = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            try:
                host, port = _target(asked)
                there, here = await asyncio.open_connection(host, port)
            except (OSError, ValueError) as error:
                writer.write(f"HTTP/1.1 502 {error}\r\n\r\n".encode())
                return
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                await _join((reader, here), (there, writer))
            finally:
                await _close(here)
    finally:
        await _close(writer)


async def _join(*ways: tuple[StreamReader, StreamWriter]) -> None:
    """Carry bytes until one way has ended."""
    pumps = [asyncio.create_task(_pump(*way)) for way in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(source: StreamReader, target: StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()


async def _close(writer: StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _target(asked: str) -> tuple[str, int]:
    """The pod's process that ``CONNECT 10.244.x.y:port`` means.

    Raises:
        ValueError: Anything else is asked for; not retried.
    """
    method, _, rest = asked.partition(" ")
    host, _, port = rest.partition(" ")[0].rpartition(":")
    if method != "CONNECT":
        message = f"{method}: expected CONNECT"
        raise ValueError(message)
    return local_address(host), int(port)
