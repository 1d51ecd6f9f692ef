"""A replica of a service, for tests: ``python replica.py PORT VERSION``.

``/seen`` tells how many requests and copies of requests it had; ``/slow`` answers after a second.
"""

from __future__ import annotations

import asyncio
import json
import sys

PORT, VERSION = int(sys.argv[1]), sys.argv[2]
seen = {"requests": 0, "copies": 0}


async def answer(path: str, host: str) -> bytes:
    """The body for one request."""
    if path == "/seen":
        return json.dumps(seen).encode()
    if not path.startswith("/health"):
        seen["copies" if "-shadow" in host else "requests"] += 1
    if path == "/slow":
        await asyncio.sleep(1)
    return VERSION.encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request of a connection until it closes."""
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            await reader.readexactly(int(headers.get("content-length", 0)))
            body = await answer(lines[0].split()[1], headers.get("host", ""))
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nx-version: {VERSION}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Listen until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", PORT, backlog=1024)
    await server.serve_forever()


asyncio.run(main())
