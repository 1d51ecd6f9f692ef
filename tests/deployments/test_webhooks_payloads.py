"""What GitHub, GitLab and others tell of merges, read from bodies as they send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from deployments.webhook_payloads import Nothing, read_generic, read_github, read_gitlab
from tasks.domain.errors import InputError
from tasks.domain.merges import Merge
from tests.deployments.webhook_servers import SHA, payload

CHANGED = (
    "docs/prices.md",
    "services/shop/basket.py",
    "services/shop/old_rounding.py",
    "services/shop/rounding.py",
)


def github(event: str, body: object) -> Merge | Nothing:
    return read_github(event, json.dumps(body).encode())


def gitlab(event: str, body: object) -> Merge | Nothing:
    return read_gitlab(event, json.dumps(body).encode())


def test_a_github_push_names_its_commit_and_every_file_of_its_commits() -> None:
    told = github("push", payload("github-push"))
    assert told == Merge("push", "example-org/shop", "main", SHA, CHANGED)


def test_a_merged_github_pull_request_names_the_merges_commit_and_its_base() -> None:
    told = github("pull_request", payload("github-pull-request"))
    assert told == Merge("pull_request", "example-org/shop", "main", SHA)


def test_a_gitlab_push_names_the_projects_full_path() -> None:
    told = gitlab("Push Hook", payload("gitlab-push"))
    files = ("services/shop/basket.py", "services/shop/rounding.py")
    assert told == Merge("push", "retail/web/shop", "main", SHA, files)


def test_a_merged_gitlab_merge_request_names_the_merges_commit_and_its_target() -> None:
    told = gitlab("Merge Request Hook", payload("gitlab-merge-request"))
    assert told == Merge("pull_request", "retail/web/shop", "main", SHA)


COMMIT = payload("github-push")["commits"][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"forced": True},
        {"commits": []},
        {"commits": [COMMIT] * 21},
        {"commits": [COMMIT | {"added": [f"{number}.py" for number in range(3000)]}]},
    ],
    ids=["forced", "none", "many commits", "many files"],
)
def test_a_github_push_that_may_not_name_all_files_counts_as_changing_every_file(
    changes: dict[str, Any],
) -> None:
    told = github("push", payload("github-push", **changes))
    assert isinstance(told, Merge)
    assert told.paths is None


def test_a_gitlab_push_of_more_commits_than_it_names_counts_as_changing_every_file() -> None:
    told = gitlab("Push Hook", payload("gitlab-push", total_commits_count=21))
    assert isinstance(told, Merge)
    assert told.paths is None


ZEROS = "0" * 40
PULL = payload("github-pull-request")["pull_request"]
REQUEST = payload("gitlab-merge-request")["object_attributes"]


@pytest.mark.parametrize(
    ("read", "event", "body", "reason"),
    [
        (github, "ping", payload("github-ping"), "event: found 'ping'"),
        (github, "push", payload("github-push", deleted=True, after=ZEROS, commits=[]), "deleted"),
        (github, "push", payload("github-push", ref="refs/tags/v1"), "ref: found 'refs/tags/v1'"),
        (
            github,
            "pull_request",
            payload("github-pull-request", pull_request=PULL | {"merged": False}),
            "found it 'closed' and not merged",
        ),
        (github, "pull_request", payload("github-pull-request", action="opened"), "found it 'opened'"),
        (
            github,
            "pull_request",
            payload("github-pull-request", pull_request=PULL | {"merge_commit_sha": None}),
            "pull_request.merge_commit_sha: found none",
        ),
        (gitlab, "Push Hook", payload("gitlab-push", after=ZEROS, checkout_sha=None), "deleted"),
        (gitlab, "Tag Push Hook", payload("gitlab-push", object_kind="tag_push"), "event: found 'Tag Push"),
        (
            gitlab,
            "Merge Request Hook",
            payload("gitlab-merge-request", object_attributes=REQUEST | {"action": "close"}),
            "found action 'close', expected 'merge'",
        ),
        (
            gitlab,
            "Merge Request Hook",
            payload("gitlab-merge-request", object_attributes=REQUEST | {"merge_commit_sha": None}),
            "its push event has the commit",
        ),
    ],
)
def test_what_is_no_merge_releases_nothing_and_says_why(
    read: Callable[[str, object], Merge | Nothing], event: str, body: object, reason: str
) -> None:
    told = read(event, body)
    assert isinstance(told, Nothing)
    assert reason in told.reason


def test_any_sender_may_name_version_service_and_files() -> None:
    body = {"repository": "org/shop", "branch": "refs/heads/main", "sha": SHA}
    assert read_generic(json.dumps(body).encode()) == Merge(None, "org/shop", "main", SHA)
    more = body | {"paths": ["a"], "version": "1.4.2", "service": "shop"}
    told = read_generic(json.dumps(more).encode())
    assert told == Merge(None, "org/shop", "main", SHA, ("a",), "1.4.2", "shop")


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"branch": "main", "sha": SHA}, "repository", "repository: found"),
        ({"repository": "o/s", "branch": "main", "sha": "main"}, "sha", "found 'main', expected match"),
        ({"repository": "o/s", "branch": 1, "sha": SHA}, "branch", "found 1, expected a valid string"),
        (
            {"repository": "o/s", "branch": "main", "sha": SHA, "version": "two words"},
            "version",
            "found 'two words'",
        ),
        ({"repository": "o/s", "branch": "main", "sha": SHA, "path": []}, "path", "Extra inputs"),
        ({"repository": "o/s", "branch": "main", "sha": SHA, "paths": "a"}, "paths", "expected a valid"),
        ([], "body", "found 'list'"),
    ],
)
def test_a_wrong_body_is_refused_with_the_field(body: object, field: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        read_generic(json.dumps(body).encode())
    assert refused.value.field == field
    assert message in str(refused.value)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    for read in (read_github, read_gitlab):
        with pytest.raises(InputError, match=r"body: found .*, expected JSON"):
            read("push" if read is read_github else "Push Hook", body)


def test_a_huge_wrong_value_is_not_said_back() -> None:
    with pytest.raises(InputError) as refused:
        github("push", payload("github-push", after="x" * 10_000))
    assert len(str(refused.value)) < 300
