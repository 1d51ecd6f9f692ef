"""Whom the receiver believes, and what it does not let itself be made to do."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.webhook_settings import WebhookSettings
from deployments.webhooks import read_settings
from tasks.domain.errors import InputError
from tests.deployments import webhook_fixtures
from tests.deployments.webhook_fixtures import Start
from tests.deployments.webhook_servers import (
    GITHUB,
    SECRETS,
    SHA,
    Prefect,
    from_generic,
    from_github,
    from_gitlab,
    get,
    payload,
    post,
)

prefect, start, shop = webhook_fixtures.prefect, webhook_fixtures.start, webhook_fixtures.shop

GENERIC_BODY = {"repository": "example-org/shop", "branch": "main", "sha": SHA}
PUSH = payload("github-push")
OTHER = json.dumps(PUSH | {"after": "1" * 40}).encode()


def with_headers(request: dict[str, Any], **changes: str | bytes | None) -> dict[str, Any]:
    """*request* with headers changed, or left out where they are None."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {name: value for name, value in (request["headers"] | named).items() if value is not None}
    return request | {"headers": headers}


def forged() -> dict[str, tuple[str, dict[str, Any]]]:
    """Events that nobody with a secret sent, or not as they are."""
    github, generic = from_github(PUSH), from_generic(GENERIC_BODY)
    later = str(int(time.time()) + 1)
    return {
        "another secret": ("github", from_github(PUSH, secret="guessed")),
        "an empty secret": ("github", from_github(PUSH, secret="")),
        "a changed body": ("github", github | {"content": OTHER}),
        "another sender's secret": ("github", from_github(PUSH, secret=SECRETS["GENERIC_SECRET"])),
        "no signature": ("github", with_headers(github, X_Hub_Signature_256=None)),
        "sha1": ("github", with_headers(github, X_Hub_Signature_256=f"sha1={'8' * 40}")),
        "not ASCII": ("github", with_headers(github, X_Hub_Signature_256=b"sha256=\xe4\xf6")),
        "another token": ("gitlab", from_gitlab(payload("gitlab-push"), token="a-gitlab-tokem")),
        "an empty token": ("gitlab", from_gitlab(payload("gitlab-push"), token="")),
        "another generic secret": ("generic", from_generic(GENERIC_BODY, secret="guessed")),
        "an old timestamp": ("generic", from_generic(GENERIC_BODY, moment=time.time() - 3600)),
        "a future timestamp": ("generic", from_generic(GENERIC_BODY, moment=time.time() + 3600)),
        "a changed delivery": ("generic", with_headers(generic, X_Davy_Delivery="other")),
        "a changed timestamp": ("generic", with_headers(generic, X_Davy_Timestamp=later)),
    }


def test_forged_events_are_refused(start: Start, prefect: Prefect, shop: Path) -> None:
    del shop
    base = start()
    answers = {name: post(base, sender, request) for name, (sender, request) in forged().items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert not any(secret in answer.text for answer in answers.values() for secret in SECRETS.values())
    time.sleep(0.3)
    assert prefect.asked == 0


def test_a_sender_without_a_secret_is_refused_never_believed(
    start: Start, shop: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del shop
    monkeypatch.setenv("DAVY_WEBHOOK_GITLAB_TOKEN", " , ")
    base = start()
    assert "neither DAVY_WEBHOOK_GITLAB_TOKEN nor DAVY_WEBHOOK_GITLAB_TOKEN_FILE has a secret" in caplog.text
    for token in ("", ","):
        answer = post(base, "gitlab", from_gitlab(payload("gitlab-push"), token=token))
        assert (answer.status_code, "found no secret" in answer.text) == (403, True)


def test_a_receiver_without_any_secret_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.delenv(f"DAVY_WEBHOOK_{name}", raising=False)
    with pytest.raises(InputError, match="secrets: found None, expected one of DAVY_WEBHOOK_GITHUB_SECRET"):
        read_settings()


def test_a_wrong_setting_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVY_WEBHOOK_GITHUB_SECRET", GITHUB)
    monkeypatch.setenv("DAVY_WEBHOOK_RATE_LIMIT", "often")
    with pytest.raises(InputError, match="DAVY_WEBHOOK_RATE_LIMIT") as refused:
        read_settings()
    assert GITHUB not in str(refused.value) + repr(WebhookSettings.model_construct())


def test_secrets_may_be_several_and_a_mounted_one_may_change(
    start: Start, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del shop
    monkeypatch.delenv("DAVY_WEBHOOK_GITHUB_SECRET")
    file = tmp_path / "secret"
    file.write_text("old\nnew\n")
    base = start(github_secret_file=file)
    ping = payload("github-ping")
    used = [post(base, "github", from_github(ping, "ping", secret=one)) for one in ("old", "new", "newer")]
    assert [answer.status_code for answer in used] == [200, 200, 401]
    file.write_text("newer,new")
    used = [post(base, "github", from_github(ping, "ping", secret=one)) for one in ("old", "new", "newer")]
    assert [answer.status_code for answer in used] == [401, 200, 200]
    file.unlink()
    assert post(base, "github", from_github(ping, "ping", secret="new")).status_code == 403


def test_a_wrong_body_is_refused_with_the_field(start: Start, shop: Path) -> None:
    del shop
    base = start()
    answer = post(base, "github", from_github(b"{garbage"))
    assert (answer.status_code, answer.json()["field"]) == (400, "body")
    answer = post(base, "github", from_github(payload("github-push", after="main")))
    assert (answer.status_code, answer.json()["field"]) == (400, "after")
    assert "after: found 'main', expected" in answer.json()["error"]
    form = from_github(payload("github-push"))
    form["headers"]["Content-Type"] = "application/x-www-form-urlencoded"
    assert post(base, "github", form).status_code == 415
    nameless = from_github(payload("github-push"), delivery="x" * 201)
    assert (post(base, "github", nameless).json()["field"]) == "X-GitHub-Delivery"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(start: Start, shop: Path) -> None:
    del shop
    base = start(body_limit="100KiB")
    large = from_github(b" " * 200_000)
    assert post(base, "github", large).status_code == 413
    chunked = large | {"content": iter([b" " * 50_000] * 4)}
    assert post(base, "github", chunked).status_code == 413
    assert post(base, "github", from_github(payload("github-push"))).status_code == 202


def test_a_body_that_does_not_arrive_is_given_up(start: Start, shop: Path) -> None:
    del shop
    base = httpx.URL(start(body_within="300ms"))
    with socket.create_connection((base.host, base.port or 0), timeout=5) as slow:
        slow.sendall(b"POST /github HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert b"408 Request Timeout" in slow.recv(4096)


def test_a_flood_is_held_back_and_told_when_to_come_again(start: Start, prefect: Prefect, shop: Path) -> None:
    del shop
    base = start(rate_limit="20/minute")
    with httpx.Client(verify=False) as client:
        answers = [client.post(f"{base}/github", **from_github(PUSH, secret="guessed")) for _ in range(60)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 40
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert prefect.asked == 0
    assert get(f"{base}/health").json()["status"] == "ok"
