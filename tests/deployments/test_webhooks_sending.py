"""What was accepted reaches Prefect once: while it is away, after a kill, and when an image is late."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.webhook_settings import WebhookSettings
from deployments.webhooks import create_app
from tasks.domain.settings import settings
from tests.deployments.webhook_servers import (
    GITHUB,
    SHA,
    Prefect,
    Registry,
    from_github,
    get,
    payload,
    post,
    receiving,
    serving,
    until,
    write_service,
)

SERVE = "import sys; from pathlib import Path; from deployments.webhooks import serve; serve(Path(sys.argv[1]), port=int(sys.argv[2]))"
KEY = f"merge-shop-{SHA}"


@pytest.fixture
def prefect(home: Path, monkeypatch: pytest.MonkeyPatch) -> Prefect:
    """Prefect in small; the test begins to serve it."""
    del home
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    return Prefect(settings().prefect_port)


class Receiver:
    """The receiver of a folder's services, which may be ended and started again; it looks for images quickly."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.base = f"http://127.0.0.1:{port}"
        self._port = port

    def here(self, **options: object) -> AbstractContextManager[str]:
        """In this process."""
        own = {"github_secret": GITHUB, "image_poll": "200ms", "show_deliveries": True} | options
        return receiving(create_app(self.folder, WebhookSettings.model_validate(own)), self._port)

    @contextmanager
    def apart(self) -> Iterator[subprocess.Popen[str]]:
        """As a process of its own, which can be killed."""
        environment = os.environ | {
            "DAVY_WEBHOOK_GITHUB_SECRET": GITHUB,
            "DAVY_WEBHOOK_SHOW_DELIVERIES": "1",
        }
        command = [sys.executable, "-c", SERVE, str(self.folder), str(self._port)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                until(lambda: self._answers(process), within=30)
                yield process
            finally:
                process.kill()
                process.communicate()

    def _answers(self, process: subprocess.Popen[str]) -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            return get(f"{self.base}/health").is_success
        except httpx.HTTPError:
            return False

    def gets(self, request: dict[str, Any]) -> Any:  # noqa: ANN401 - as JSON has it
        """Send an event; gives the answer."""
        answer = post(self.base, "github", request)
        assert answer.is_success, answer.text
        return answer.json()

    @property
    def release(self) -> dict[str, str]:
        """The one release that there is."""
        shown: list[dict[str, str]] = get(f"{self.base}/deliveries").json()["releases"]
        assert len(shown) == 1
        return shown[0]


@pytest.fixture
def receiver(tmp_path: Path, free_port: Callable[[], int]) -> Receiver:
    """A receiver for the shop."""
    write_service(tmp_path / "services")
    return Receiver(tmp_path / "services", free_port())


def test_nothing_is_lost_while_prefect_answers_503_or_is_not_there(
    prefect: Prefect, receiver: Receiver
) -> None:
    prefect.away = 503
    with receiver.here():
        with serving(prefect):
            assert receiver.gets(from_github(payload("github-push")))["status"] == "accepted"
            until(lambda: prefect.asked >= 2)
            assert receiver.release["state"] == "ready"
            assert "answered 503" in receiver.release["reason"]
        until(lambda: "ConnectError" in receiver.release["reason"])
        again = Prefect(settings().prefect_port)
        with serving(again):
            until(lambda: again.runs)
            until(lambda: receiver.release["state"] == "started")
        assert list(again.runs) == [KEY]
        assert receiver.release["run"] == f"run-of-{KEY}"


def test_a_kill_at_any_point_loses_nothing_and_doubles_nothing(prefect: Prefect, receiver: Receiver) -> None:
    """One run was made and not yet noted, and one merge was accepted and not yet sent."""
    prefect.slow = 30
    made, accepted = (from_github(payload("github-push", after=sha)) for sha in (SHA, "1" * 40))
    with serving(prefect):
        with receiver.apart() as process:
            receiver.gets(made)
            until(lambda: prefect.runs)
            assert receiver.gets(accepted)["status"] == "accepted"
            process.send_signal(signal.SIGKILL)
            process.wait()
        prefect.slow = 0
        with receiver.here():
            until(lambda: len(prefect.posts) == 3)
            assert [receiver.gets(one)["status"] for one in (made, accepted)] == ["duplicate", "duplicate"]
    assert list(prefect.runs) == [KEY, f"merge-shop-{'1' * 40}"]
    of_made = [body for _, body in prefect.posts if body["idempotency_key"] == KEY]
    assert of_made[0] == of_made[1]


def test_what_prefect_refuses_is_not_sent_again_and_holds_up_nothing(
    prefect: Prefect, receiver: Receiver
) -> None:
    prefect.refuses = (409, "parameters: version is too odd")
    with serving(prefect), receiver.here():
        receiver.gets(from_github(payload("github-push")))
        until(lambda: receiver.release["state"] == "refused")
        assert "too odd" in receiver.release["reason"]
        prefect.refuses = None
        other = "1" * 40
        receiver.gets(from_github(payload("github-push", after=other)))
        until(lambda: prefect.runs)
    assert list(prefect.runs) == [f"merge-shop-{other}"]


def test_a_missing_deployment_holds_up_nothing_else(
    prefect: Prefect, receiver: Receiver, tmp_path: Path
) -> None:
    prefect.deployments = {"canary/cart"}
    write_service(tmp_path / "services", "cart", branch="next")
    with serving(prefect), receiver.here():
        receiver.gets(from_github(payload("github-push")))
        until(lambda: "no deployment canary/shop" in receiver.release["reason"])
        assert receiver.release["state"] == "ready"
        receiver.gets(from_github(payload("github-push", ref="refs/heads/next")))
        until(lambda: prefect.runs)
    assert list(prefect.runs) == [f"merge-cart-{SHA}"]


def test_a_merge_waits_for_its_image_with_a_token_from_its_registry(
    prefect: Prefect, receiver: Receiver, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    registry = Registry(free_port())
    registry.user = "davy:a-password"
    host = f"127.0.0.1:{registry.server_port}"
    config = {"auths": {host: {"auth": base64.b64encode(b"davy:a-password").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_service(tmp_path / "services", image=f"{host}/team/shop:{{sha}}")
    with serving(prefect), serving(registry), receiver.here(docker_config=tmp_path / "config.json"):
        answer = receiver.gets(from_github(payload("github-push")))
        assert answer["releases"][0]["state"] == "waiting"
        until(lambda: len(registry.asked) >= 4)
        assert receiver.release["reason"] == f"{host}/team/shop:{SHA}: not in its registry"
        assert not prefect.runs
        registry.images.add(f"team/shop:{SHA}")
        until(lambda: prefect.runs)
    assert list(prefect.runs) == [KEY]


def test_an_image_that_never_comes_ends_the_wait_with_the_reason(
    prefect: Prefect, receiver: Receiver, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    registry = Registry(free_port())
    registry.user = "somebody:else"
    image = f"127.0.0.1:{registry.server_port}/team/shop:{{sha}}"
    write_service(tmp_path / "services", image=image, image_within="1s")
    with serving(prefect), serving(registry), receiver.here():
        began = time.monotonic()
        receiver.gets(from_github(payload("github-push")))
        until(lambda: receiver.release["state"] == "refused")
        assert time.monotonic() - began >= 1
        assert "found 401 and no token, expected one to read team/shop" in receiver.release["reason"]
    assert not prefect.runs
