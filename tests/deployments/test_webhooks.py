"""The receiver over real HTTP: who is believed, what is accepted, and that nothing is released twice."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.webhook_settings import WebhookSettings
from deployments.webhooks import create_app, read_settings
from tasks.domain.errors import InputError
from tasks.domain.settings import settings
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
    receiving,
    serving,
    until,
    write_service,
)

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


def test_a_merge_becomes_one_flow_run_with_the_service_files_content(
    start: Start, prefect: Prefect, shop: Path
) -> None:
    del shop
    answer = post(start(), "github", from_github(payload("github-push")))
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    asked = {"service": "shop", "sha": SHA, "version": SHA, "state": "ready"}
    assert answer.json()["releases"] == [asked]
    until(lambda: prefect.runs)
    parameters = prefect.runs[f"merge-shop-{SHA}"]
    assert parameters["version"] == SHA
    assert parameters["service"]["service"] == "shop"
    assert parameters["service"]["fleet"]["command"] == "serve --port {port}"
    assert parameters["release"].startswith(f"shop-{SHA[:12]}-")


def test_the_services_own_deployment_is_preferred(start: Start, prefect: Prefect, shop: Path) -> None:
    del shop
    prefect.deployments.add("canary/shop")
    post(start(), "github", from_github(payload("github-push")))
    until(lambda: prefect.posts)
    assert prefect.posts[0][0] == "canary.shop"


def test_a_merge_that_fires_several_events_is_released_once(
    start: Start, prefect: Prefect, tmp_path: Path
) -> None:
    write_service(tmp_path / "services", "shop", {"event": "pull_request"}, event="push")
    base = start()
    first = post(base, "github", from_github(payload("github-push")))
    second = post(base, "github", from_github(payload("github-pull-request"), "pull_request"))
    third = post(
        base, "generic", from_generic({"repository": "example-org/shop", "branch": "main", "sha": SHA})
    )
    assert [first.json()["status"], second.json()["status"]] == ["accepted", "duplicate"]
    assert (third.status_code, third.json()["status"]) == (200, "duplicate")
    assert "this commit was accepted before for shop" in second.json()["reason"]
    until(lambda: prefect.posts)
    time.sleep(0.5)
    assert len(prefect.posts) == 1


def test_a_replay_is_recognised_by_its_delivery_id(start: Start, prefect: Prefect, shop: Path) -> None:
    del shop
    base = start()
    request = from_github(payload("github-push"))
    assert post(base, "github", request).status_code == 202
    again = post(base, "github", request)
    assert (again.status_code, again.json()["reason"]) == (200, "this delivery was accepted before")
    until(lambda: prefect.posts)
    assert len(prefect.posts) == 1


def test_what_released_nothing_may_be_sent_again_once_the_service_file_is_right(
    start: Start, tmp_path: Path
) -> None:
    write_service(tmp_path / "services", branch="trunk")
    base = start()
    request = from_github(payload("github-push"))
    answer = post(base, "github", request)
    assert (answer.status_code, answer.json()["status"]) == (200, "nothing")
    assert answer.json()["reason"] == "shop: branch: found 'main', expected 'trunk'"
    write_service(tmp_path / "services", branch="main", paths=["services/**"])
    assert post(base, "github", request).status_code == 202


@pytest.mark.parametrize("event", ["ping", "issues"])
def test_an_event_that_is_no_merge_is_answered_and_starts_nothing(
    start: Start, prefect: Prefect, shop: Path, event: str
) -> None:
    del shop
    answer = post(start(), "github", from_github(payload("github-ping"), event))
    assert (answer.status_code, answer.json()["status"]) == (200, "nothing")
    assert prefect.asked == 0


def test_gitlab_is_told_by_its_token_and_an_older_ones_retry_by_its_body(
    start: Start, prefect: Prefect, tmp_path: Path
) -> None:
    write_service(tmp_path / "services", repository="retail/web/shop", version="{short_sha}")
    base = start()
    for expected in ("accepted", "duplicate"):
        answer = post(base, "gitlab", from_gitlab(payload("gitlab-push"), delivery=None))
        assert answer.json()["status"] == expected
    until(lambda: prefect.runs)
    assert prefect.runs[f"merge-shop-{SHA}"]["version"] == SHA[:12]


GENERIC_BODY = {"repository": "example-org/shop", "branch": "main", "sha": SHA}
PUSH = payload("github-push")
FORGED: dict[str, tuple[str, dict[str, Any]]] = {
    "another secret": ("github", from_github(PUSH, secret="guessed")),
    "an empty secret": ("github", from_github(PUSH, secret="")),
    "changed body": (
        "github",
        from_github(PUSH) | {"content": json.dumps(PUSH | {"after": "1" * 40}).encode()},
    ),
    "another sender's secret": ("github", from_github(PUSH, secret=SECRETS["GENERIC_SECRET"])),
    "another token": ("gitlab", from_gitlab(payload("gitlab-push"), token="a-gitlab-tokem")),
    "an empty token": ("gitlab", from_gitlab(payload("gitlab-push"), token="")),
    "another generic secret": ("generic", from_generic(GENERIC_BODY, secret="guessed")),
    "an old timestamp": ("generic", from_generic(GENERIC_BODY, moment=time.time() - 3600)),
    "a future timestamp": ("generic", from_generic(GENERIC_BODY, moment=time.time() + 3600)),
}
for name, header, value in [
    ("no signature", "X-Hub-Signature-256", None),
    ("sha1", "X-Hub-Signature-256", "sha1=82474c4fdedd8c2d2e6802db3e49f4afd96b3eab"),
    ("not ASCII", "X-Hub-Signature-256", b"sha256=\xe4\xf6"),
]:
    wrong = from_github(PUSH)
    wrong["headers"].pop(header)
    FORGED[name] = ("github", wrong | {"headers": wrong["headers"] | ({header: value} if value else {})})
for name, changed in [("a changed delivery", "X-Davy-Delivery"), ("a changed timestamp", "X-Davy-Timestamp")]:
    stale = from_generic(GENERIC_BODY)
    other = str(int(time.time()) + 1) if "Timestamp" in changed else "other"
    FORGED[name] = ("generic", stale | {"headers": stale["headers"] | {changed: other}})


def test_forged_events_are_refused(start: Start, prefect: Prefect, shop: Path) -> None:
    del shop
    base = start()
    answers = {name: post(base, sender, request) for name, (sender, request) in FORGED.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(FORGED, 401)
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


def test_a_burst_loses_none_and_doubles_none(start: Start, prefect: Prefect, shop: Path) -> None:
    """Two hundred merges, fifty of them told twice, sent by sixteen at a time."""
    del shop
    base = start()
    commits = [f"{number:040x}" for number in range(1, 201)]
    requests = [from_github(payload("github-push", after=sha)) for sha in commits + commits[:50]]
    with ThreadPoolExecutor(16) as pool, httpx.Client(timeout=30, verify=False) as client:
        answers = list(pool.map(lambda one: client.post(f"{base}/github", **one), requests))
    statuses = [answer.json()["status"] for answer in answers]
    assert (statuses.count("accepted"), statuses.count("duplicate")) == (200, 50)
    until(lambda: len(prefect.runs) == 200, within=20)
    assert sorted(prefect.runs) == [f"merge-shop-{sha}" for sha in commits]
    assert len(prefect.posts) == 200
    assert get(f"{base}/health").json()["releases"]["started"] == 200


def test_a_broken_service_file_stops_none_of_the_others(
    start: Start, tmp_path: Path, shop: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "services" / "broken.yaml").write_text("service: [")
    base = start()
    assert "broken.yaml" in caplog.text
    shop.write_text(shop.read_text().replace("canary", "canari"))
    answer = post(base, "github", from_github(payload("github-push")))
    assert answer.status_code == 202
    assert "found 'canari', expected one of rolling" in caplog.text
    assert "it is used as it was before" in caplog.text


def test_deliveries_are_shown_only_where_that_is_asked_for(start: Start, shop: Path) -> None:
    del shop
    assert get(f"{start()}/deliveries").status_code == 404
    base = start(show_deliveries="true")
    post(base, "github", from_github(payload("github-push"), delivery="d-1"))
    post(base, "github", from_github(payload("github-ping"), "ping", delivery="d-2"))
    shown = get(f"{base}/deliveries")
    assert [(one["id"], one["accepted"]) for one in shown.json()["deliveries"]] == [("d-2", 0), ("d-1", 1)]
    assert shown.json()["releases"][0]["sha"] == SHA
    assert not any(secret in shown.text for secret in SECRETS.values())


def test_an_event_that_cannot_be_kept_is_not_accepted(start: Start, shop: Path) -> None:
    del shop
    base = start()
    with closing(sqlite3.connect(settings().root / "webhooks" / "merges.sqlite")) as file:
        file.execute("DROP TABLE releases")
    answer = post(base, "github", from_github(payload("github-push")))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")


def test_what_there_is_not_is_said_in_the_same_form(start: Start, shop: Path) -> None:
    del shop
    base = start()
    assert httpx.post(f"{base}/bitbucket").json() == {"error": "Not Found", "field": None}
    wrong = get(f"{base}/github")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
