"""The receiver over real HTTP: what is accepted, and that nothing is lost or released twice."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tasks.domain.settings import settings
from tests.deployments import webhook_fixtures
from tests.deployments.webhook_fixtures import Start
from tests.deployments.webhook_servers import (
    SECRETS,
    SHA,
    Prefect,
    from_generic,
    from_github,
    from_gitlab,
    get,
    payload,
    post,
    until,
    write_service,
)

prefect, start, shop = webhook_fixtures.prefect, webhook_fixtures.start, webhook_fixtures.shop


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
