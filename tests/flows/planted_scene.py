"""What a test of planted secrets has: the secrets, the servers outside, and all that was said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL as DATABASE

from tests.rig.planted import Planted, files_below


class Scene:
    """What is planted, the servers outside, and all that was said.

    Attributes:
        said: What programs wrote: logs, outputs, errors.
        outside: What each server outside was sent.
        belongs: Which secrets each of them may know.
    """

    def __init__(self, home: Path, folder: Path, port: Callable[[], int]) -> None:
        self.home, self.folder, self.port = home, folder, port
        self.planted = Planted()
        self.said: list[str] = []
        self.outside: dict[str, bytes] = {}
        self.belongs: dict[str, set[str]] = {}

    def heard(self, name: str, content: bytes, *belongs: str) -> None:
        """Keep what a server was sent; at least one secret that belongs there did arrive, or nothing was tried."""
        self.outside[name] = content
        self.belongs[name] = set(belongs)

    def places(self) -> dict[str, bytes]:
        """All that there is to search."""
        APILogHandler().flush()
        database = {path.name: path.read_bytes() for path in (prefects(), prefects("-wal")) if path.exists()}
        said = {"said": "\n".join(self.said).encode()}
        return files_below(self.home) | database | said | self.outside


def prefects(end: str = "") -> Path:
    """Prefect's database, or the file beside it with what is not in it yet."""
    return Path(str(DATABASE.value()).partition("///")[2] + end)


class LogLines(logging.Handler):
    """Keeps each line, with its traceback, as a program's log would."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self._lines.append(logging.Formatter("%(name)s %(message)s").format(record))
