"""Several services side by side: released for the first time, under load, looked at all the time."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from deployments.observations import Experience, experience
from infra.local.load import Load
from tasks.domain.model import Window
from tests.rig.properties import Plateau, missing_capacity, missing_in_batches, plateaus
from tests.rig.recorder import Census, Look, Recorder
from tests.rig.requests import Request, requests_in
from tests.rig.services import Content, capacity
from tests.rig.stack import Davy, Running, Said, await_that

FIRST = "1.0"
"""The version that every service begins with."""
AT_ONCE = 3
"""How many releases run side by side: more starve the load, and it counts that as failures."""
SETTLED_WITHIN = 40
"""Seconds after a release's end in which what is due to be retired is gone, on a busy machine."""
POLL = 0.1
QUIET = 5
"""Requests per second to a service that only has to be there."""
PATIENCE = 20
"""Seconds that a user waits for an answer: longer than a busy machine stands still."""
LONGEST = 580
"""Seconds after which a load ends by itself."""


@dataclass(frozen=True)
class Story:
    """All that was seen of one service.

    Attributes:
        first: What the command of its first release said.
        said: What the command of its last release said.
        users: What the load saw.
    """

    content: Content
    first: Said
    said: Said
    looks: Sequence[Look]
    censuses: Sequence[Census]
    requests: Sequence[Request]
    users: Experience

    @property
    def stable(self) -> str:
        """The slot that had all traffic when the curtain rose."""
        return next(iter(self.looks[0].split))

    @property
    def old(self) -> tuple[str, str]:
        """The slots of the old version."""
        return self.stable, "baseline"

    @cached_property
    def plateaus(self) -> list[Plateau]:
        """The new version's shares, in order."""
        return plateaus(self.looks, self.old)

    def missing_capacity(self, *, dying: str = "") -> list[str]:
        """What of the capacity that the strategy promises was missing; see `missing_capacity`."""
        rolling = self.content["strategy"] == "rolling"
        missing = missing_in_batches if rolling else missing_capacity
        return missing(self.looks, capacity(self.content), dying=dying)


class Stage:
    """A context: services with their first version, load and recorder, until it is left.

    Args:
        contents: Their service files.
        rate: Requests per second, to each.
        quiet: Those that get only a few: whose new version never gets a request.
    """

    def __init__(
        self, davy: Davy, contents: Sequence[Content], *, rate: int = 30, quiet: Collection[str] = ()
    ) -> None:
        self.davy = davy
        self._contents = {content["service"]: content for content in contents}
        self._rates = {name: QUIET if name in quiet else rate for name in self._contents}
        self._firsts: dict[str, Said] = {}
        self._said: dict[str, Said] = {}
        self._started: dict[str, Running] = {}
        self._record = davy.home.parent / contents[0]["service"]
        self._over = ExitStack()
        self.recorder = Recorder(davy.envoy_port, davy.home.parent, self._contents)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.callback(self._leave)
            for name, content in self._contents.items():
                self.file(name).write_text(yaml.safe_dump(content))
            self.release_all(dict.fromkeys(self._contents, FIRST))
            self._firsts = dict(self._said)
            assert {said.code for said in self._firsts.values()} == {0}, self._firsts
            opening.enter_context(self.recorder)
            for rate in {*self._rates.values()}:
                urls = [self.url(name) for name, its in self._rates.items() if its == rate]
                load = Load(urls, rate=rate, seconds=LONGEST, record=self._seen(rate), patience=PATIENCE)
                opening.enter_context(load)
            self._began = datetime.now(UTC)
            for name in self._contents:
                await_that(partial(requests_in, self._log(name)), what=f"load on {name}")
            self._over = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.__exit__(kind, error, trace)

    def file(self, service: str) -> Path:
        """Its service file."""
        return self.davy.home.parent / f"{service}.yaml"

    def url(self, service: str) -> str:
        """Where its users are."""
        return f"http://127.0.0.1:{self._contents[service]['router']['port']}"

    def begin(self, service: str, version: str) -> Running:
        """Start a release and let it run; `end` gives what it said."""
        words = ("release", str(self.file(service)), "--version", version, "--json")
        self._started[service] = self.davy.start(*words)
        return self._started[service]

    def end(self, service: str) -> Said:
        """Wait for the release that was begun."""
        self._said[service] = self._started.pop(service).wait()
        return self._said[service]

    def release_all(self, versions: dict[str, str]) -> None:
        """Release several services to the end, a few side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for service, version in versions.items():
                pool.submit(self._release, service, version)

    def _release(self, service: str, version: str) -> None:
        self.begin(service, version)
        self.end(service)

    def successor(self, service: str) -> str:
        """The colour that the service's first version does not have."""
        return "green" if "blue" in self.recorder.looks[service][0].split else "blue"

    def await_share(self, service: str, slot: str, share: int) -> Look:
        """Wait until *slot* is seen with this share (basis points)."""
        looks = self.recorder.looks[service]
        what = f"{service}: {slot} with {share}"
        return await_that(lambda: looks[-1] if looks[-1].split.get(slot, 0) == share else None, 120, what)

    def await_census(self, service: str, version: str) -> None:
        """Wait until *version* runs at full size and nothing else does."""
        assert self.settle(service, version), f"{service}: {self.recorder.censuses[service][-1]}"

    def settle(self, service: str, version: str) -> bool:
        """Wait for the same, but not for ever; whether it came to that."""
        wanted = [version] * self._contents[service]["replicas"]
        deadline = time.monotonic() + SETTLED_WITHIN
        while [*self.recorder.censuses[service][-1].versions.values()] != wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def story(self, service: str) -> Story:
        """All that was seen of *service* until now; the log is flushed by Envoy twice a second."""
        end = datetime.now(UTC)
        await_that(lambda: requests_in(self._log(service))[-1].at > end.timestamp(), what="access log")
        began, until = self._began.timestamp(), end.timestamp()
        return Story(
            content=self._contents[service],
            first=self._firsts[service],
            said=self._said.get(service, self._firsts[service]),
            looks=[look for look in self.recorder.looks[service] if began < look.at < until],
            censuses=[census for census in self.recorder.censuses[service] if began < census.at < until],
            requests=[one for one in requests_in(self._log(service)) if began < one.at < until],
            users=experience(self._seen(self._rates[service]), Window(self._began, end), self.url(service)),
        )

    def _seen(self, rate: int) -> Path:
        """What the load of this rate records."""
        return self._record.with_suffix(f".{rate}.jsonl")

    def _log(self, service: str) -> Path:
        return self.davy.home / "logs" / f"{service}.access.log"

    def _leave(self) -> None:
        """Whatever is still under way is taken back; then the services go."""
        for service, running in self._started.items():
            self.davy.run("abort", service)
            running.wait()
        self.davy.python("-m", "tests.rig.leave", *(str(self.file(name)) for name in self._contents))
