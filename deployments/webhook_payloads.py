"""What senders tell of merges: GitHub's and GitLab's events, and one of our own for everybody else.

Only the fields that matter are read; all others may change as they like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.domain.errors import InputError
from tasks.domain.merges import Merge

MANY_COMMITS = 20
"""GitLab names the newest 20 commits of a push only; a push of more counts as changing every file."""
MANY_FILES = 3000
"""A commit's list of files that is as long may have been cut, so it counts as changing every file."""
SHOWN = 80
"""How many characters of a wrong value a message shows."""
_BRANCH = "refs/heads/"

Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Text = Annotated[str, Field(min_length=1, max_length=1024)]


@dataclass(frozen=True)
class Nothing:
    """An event that releases nothing.

    Attributes:
        reason: Why, in words for the sender's list of deliveries.
    """

    reason: str


class Payload(BaseModel):
    """Base of what is read of a body: other fields are let be, types are not guessed."""

    model_config = ConfigDict(frozen=True, strict=True)


P = TypeVar("P", bound=Payload)


class _Changed(Payload):
    """A pushed commit."""

    added: list[str] | None = None
    modified: list[str] | None = None
    removed: list[str] | None = None

    @property
    def lists(self) -> list[list[str]]:
        return [files or [] for files in (self.added, self.modified, self.removed)]


class _GitHubRepository(Payload):
    full_name: Text


class _GitHubPush(Payload):
    ref: Text
    after: Commit
    deleted: bool = False
    forced: bool = False
    commits: list[_Changed] = []
    repository: _GitHubRepository


class _Base(Payload):
    ref: Text


class _PullRequest(Payload):
    merged: bool | None = None
    merge_commit_sha: Commit | None = None
    base: _Base


class _GitHubPullRequest(Payload):
    action: Text
    pull_request: _PullRequest
    repository: _GitHubRepository


class _Project(Payload):
    path_with_namespace: Text


class _GitLabPush(Payload):
    object_kind: Literal["push"]
    ref: Text
    after: Commit
    commits: list[_Changed] = []
    total_commits_count: int = 0
    project: _Project


class _MergeRequest(Payload):
    action: str | None = None
    state: str | None = None
    target_branch: Text
    merge_commit_sha: Commit | None = None


class _GitLabMergeRequest(Payload):
    object_kind: Literal["merge_request"]
    object_attributes: _MergeRequest
    project: _Project


class GenericMerge(Payload):
    """A merge, told by a sender that is neither GitHub nor GitLab."""

    model_config = ConfigDict(extra="forbid")

    repository: Text = Field(examples=["org/shop"])
    """As ``on_merge.repository`` has it."""
    branch: Text = Field(examples=["main"])
    sha: Commit = Field(examples=["6113728f27ae82c7b1a177c8d03f9e96e0adf246"])
    """The commit that the branch has now."""
    paths: list[str] | None = Field(None, max_length=100_000)
    """The files that it changes; absent for every file."""
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+:/@-]{1,128}$")] | None = None
    """The version to release, in place of the service file's template."""
    service: Text | None = None
    """Only this service."""


def read_github(event: str, body: bytes) -> Merge | Nothing:
    """What a GitHub event tells.

    Args:
        event: The header ``X-GitHub-Event``.

    Raises:
        InputError: The body is not that event's; not retried.
    """
    if event == "push":
        push = _read(_GitHubPush, body)
        if nothing := _no_merge(push.ref, push.after, deleted=push.deleted):
            return nothing
        paths = None if push.forced else _paths(push.commits)
        branch = push.ref.removeprefix(_BRANCH)
        return Merge("push", push.repository.full_name, branch, push.after, paths)
    if event != "pull_request":
        _read(Payload, body)
        return Nothing(f"event: found {event[:SHOWN]!r}, expected 'push' or 'pull_request'")
    told = _read(_GitHubPullRequest, body)
    request = told.pull_request
    if told.action != "closed" or not request.merged:
        return Nothing(f"pull request: found it {told.action[:SHOWN]!r} and not merged, expected a merge")
    if request.merge_commit_sha is None:
        return Nothing("pull_request.merge_commit_sha: found none, expected the merge's commit")
    return Merge("pull_request", told.repository.full_name, request.base.ref, request.merge_commit_sha)


def read_gitlab(event: str, body: bytes) -> Merge | Nothing:
    """What a GitLab event tells.

    Args:
        event: The header ``X-Gitlab-Event``.

    Raises:
        InputError: The body is not that event's; not retried.
    """
    if event == "Push Hook":
        push = _read(_GitLabPush, body)
        if nothing := _no_merge(push.ref, push.after, deleted=False):
            return nothing
        cut = push.total_commits_count > len(push.commits)
        paths = None if cut else _paths(push.commits)
        branch = push.ref.removeprefix(_BRANCH)
        return Merge("push", push.project.path_with_namespace, branch, push.after, paths)
    if event != "Merge Request Hook":
        _read(Payload, body)
        return Nothing(f"event: found {event[:SHOWN]!r}, expected 'Push Hook' or 'Merge Request Hook'")
    told = _read(_GitLabMergeRequest, body)
    request = told.object_attributes
    if request.action != "merge":
        return Nothing(f"merge request: found action {(request.action or '')[:SHOWN]!r}, expected 'merge'")
    if request.merge_commit_sha is None:
        reason = (
            "merge_commit_sha: found none (a fast-forward merge), expected one; its push event has the commit"
        )
        return Nothing(f"object_attributes.{reason}")
    project = told.project.path_with_namespace
    return Merge("pull_request", project, request.target_branch, request.merge_commit_sha)


def read_generic(body: bytes) -> Merge:
    """What a sender of our own kind of event tells.

    Raises:
        InputError: A field is missing or wrong; not retried.
    """
    told = _read(GenericMerge, body)
    paths = None if told.paths is None else tuple(told.paths)
    branch = told.branch.removeprefix(_BRANCH)
    return Merge(None, told.repository, branch, told.sha, paths, told.version, told.service)


def _no_merge(ref: str, after: str, *, deleted: bool) -> Nothing | None:
    if not ref.startswith(_BRANCH):
        return Nothing(f"ref: found {ref[:SHOWN]!r}, expected a branch (refs/heads/...)")
    if deleted or not after.strip("0"):
        return Nothing(f"ref: found {ref[:SHOWN]!r} deleted, expected a commit on it")
    return None


def _paths(commits: Sequence[_Changed]) -> tuple[str, ...] | None:
    """The files of all *commits*; None where they may not be all."""
    if not commits or len(commits) > MANY_COMMITS:
        return None
    lists = [files for commit in commits for files in commit.lists]
    if any(len(files) >= MANY_FILES for files in lists):
        return None
    return tuple(sorted({file for files in lists for file in files}))


def _read(model: type[P], body: bytes) -> P:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"]) or "body"
        found = None if fault["type"] == "missing" else _found(fault["input"])
        raise InputError(field, found, _expected(fault["type"], fault["msg"])) from error


def _found(value: object) -> object:
    """A wrong value, as much of it as a message needs; of a container only its kind."""
    if isinstance(value, str):
        return value[:SHOWN]
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__


def _expected(kind: str, message: str) -> str:
    if kind == "missing":
        return "a value"
    if kind == "json_invalid":
        return f"JSON ({message.removeprefix('Invalid JSON: ')})"
    return message.removeprefix("Input should be ").removeprefix("String should ").replace("'", "")
