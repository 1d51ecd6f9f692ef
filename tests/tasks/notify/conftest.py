"""Servers to be told through, and a release to tell of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks.domain.secrets import SecretPlace
from tasks.notify import delivery
from tasks.notify.base import SecretReader
from tasks.notify.teller import Teller
from tests.tasks.notify.receivers import FakeSlack, Receiver, serving
from tests.tasks.notify.releases import CANARY, LINKS, Releasing


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def slack(free_port: Callable[[], int]) -> Iterator[FakeSlack]:
    """Slack's Web API."""
    server = FakeSlack(free_port(), CANARY)
    with serving(server):
        yield server


@pytest.fixture
def receiver(free_port: Callable[[], int]) -> Iterator[Receiver]:
    """A webhook's receiver."""
    server = Receiver(free_port())
    with serving(server):
        yield server


@pytest.fixture
def read_secret() -> Callable[[SecretPlace], SecretStr]:
    """Every secret is the planted one."""
    return lambda _place: SecretStr(CANARY)


@pytest.fixture
def releasing(home: Path) -> Releasing:
    """A release that has just begun."""
    del home
    return Releasing()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time between two tries."""
    monkeypatch.setattr(delivery, "FIRST_PAUSE", timedelta(milliseconds=20))


@pytest.fixture
def start(home: Path, read_secret: SecretReader, quick: None) -> Iterator[Callable[[], Teller]]:
    """Starts a teller, as a process does; the one before is gone by then."""
    del home, quick
    tellers: list[Teller] = []

    def begin() -> Teller:
        for teller in tellers:
            teller.close()
        tellers.append(Teller(LINKS, read_secret))
        return tellers[-1]

    yield begin
    for teller in tellers:
        teller.close()
