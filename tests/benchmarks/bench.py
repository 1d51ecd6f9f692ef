"""The stack that the figures are measured on: a real one, in a folder and on ports of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import yaml

from infra.local.load import Load
from tasks.domain.settings import settings
from tasks.journal import Journal, journal_of
from tasks.record import Record
from tests.rig.leave import leave
from tests.rig.services import shop
from tests.rig.stack import Davy, await_that

FIRST = "1.0"
"""The version that every service begins with."""
REPLICAS = 3
LONGEST = 480
"""Seconds after which a load ends by itself."""


@dataclass(frozen=True)
class Run:
    """One release that was asked for with ``davy release``, and has ended.

    Attributes:
        called: When the command was called.
    """

    called: datetime
    journal: Journal
    record: Record

    @property
    def ended_at(self) -> datetime:
        """When the release ended."""
        assert self.record.ended, self.record.release
        return self.record.ended.at


class Service:
    """One service of the shop on the bench; its strategy may be another one in each release.

    Args:
        own: Keys of the service file that are other than the rig's.
    """

    def __init__(self, davy: Davy, name: str, **own: Any) -> None:  # noqa: ANN401 - as YAML has it
        self.name, self.port = name, next(davy.ports)
        self.record = davy.home.parent / f"{name}.jsonl"
        self.log = davy.home / "logs" / f"{name}.access.log"
        self.file = davy.home.parent / f"{name}.yaml"
        self._davy, self._own = davy, own

    @property
    def url(self) -> str:
        """Where its users are."""
        return f"http://127.0.0.1:{self.port}"

    def release(self, version: str, strategy: str, **own: Any) -> Run:  # noqa: ANN401 - as YAML has it
        """Release *version* as a person does; return once it has ended and nothing of it is left."""
        keys = {"replicas": REPLICAS} | self._own | own
        content = shop(self.name, strategy=strategy, port=self.port, home=self._davy.home, **keys)
        self.file.write_text(yaml.safe_dump(content))
        called = datetime.now(UTC)
        said = self._davy.run("release", str(self.file), "--version", version, "--json")
        journal = journal_of(self.name, said.json["release"])
        await_that(lambda: Record.read(journal).closed, what=f"end of {journal.release}: {said}")
        return Run(called, journal, Record.read(journal))

    def load(self, rate: int, seconds: float = LONGEST) -> Load:
        """Users of it: *rate* requests per second."""
        return Load([self.url], rate=rate, seconds=seconds, record=self.record)


@dataclass(frozen=True)
class Bench:
    """The running stack, and where progress is said."""

    davy: Davy
    say: Callable[[str], None]

    @contextmanager
    def service(self, name: str, **own: Any) -> Iterator[Service]:  # noqa: ANN401 - as YAML has it
        """A service with its first version; afterwards it is gone, so that others have the machine."""
        service = Service(self.davy, name, **own)
        service.release(FIRST, "canary")
        yield service
        leave(service.file)


@contextmanager
def a_bench(say: Callable[[str], None]) -> Iterator[Bench]:
    """The stack, up; afterwards, also after Ctrl-C or SIGTERM, nothing is left of it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory(prefix="davy-bench-", ignore_cleanup_errors=True) as folder:
        davy = Davy.in_folder(Path(folder))
        os.environ |= davy.environment
        settings.cache_clear()
        try:
            up = davy.run("up")
            assert up.code == 0, up
            yield Bench(davy, say)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            for child in psutil.Process().children():
                child.terminate()  # a command or a load that was under way
            await_that(partial(_is_away, davy), what="davy down")


def _is_away(davy: Davy) -> bool:
    return davy.run("down").code == 0 and not davy.processes()
