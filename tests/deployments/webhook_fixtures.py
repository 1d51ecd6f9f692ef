"""A receiver for the tests of one, with everything that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments.webhooks import create_app, read_settings
from tasks.domain.settings import settings
from tests.deployments.webhook_servers import SECRETS, Prefect, receiving, serving, write_service

Start = Callable[..., str]


@pytest.fixture
def prefect(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    """Prefect in small, and no other one in the environment."""
    del home
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    server = Prefect(settings().prefect_port)
    with serving(server):
        yield server


@pytest.fixture
def start(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: Callable[[], int]
) -> Iterator[Start]:
    """Starts a receiver for the service files of ``tmp_path/services``; gives its address."""
    del prefect
    for name, secret in SECRETS.items():
        monkeypatch.setenv(f"DAVY_WEBHOOK_{name}", secret)
    with ExitStack() as stack:

        def started(**options: object) -> str:
            for name, value in options.items():
                monkeypatch.setenv(f"DAVY_WEBHOOK_{name.upper()}", str(value))
            app = create_app(tmp_path / "services", read_settings())
            return stack.enter_context(receiving(app, free_port()))

        yield started


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The service file of a shop that merges release."""
    return write_service(tmp_path / "services")
