"""Merges: what a service file says about them, and which release one asks for.

Nothing here reads a request or touches the world: a `Merge` is what a sender told, an `OnMerge` is what a
service file waits for, and `wanted` holds one against the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pathspec import GitIgnoreSpec
from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, field_validator
from pydantic_core import CoreSchema

from tasks.domain.parts import Part, PositiveDuration

SHORT = 12
"""How many digits of a commit ``{short_sha}`` has."""
_SAMPLE = {"sha": "0" * 40, "short_sha": "0" * SHORT, "tag": "1.4.2"}
_VERSION = re.compile(r"[\w.+:/@-]+", re.ASCII)
_HOST = r"(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?"
_NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_NAME}(?:/{_NAME})*(?::[\w][\w.-]{{0,127}}|@sha256:[0-9a-f]{{64}})", re.ASCII
)

Event = Literal["push", "pull_request"]
"""What tells of a merge: the branch's new commit, or the pull request (merge request) that was merged."""


@dataclass(frozen=True)
class Merge:
    """One commit that a branch has now, as a sender told of it.

    Attributes:
        event: None where the sender has no kinds of events; it then counts as either.
        repository: ``org/shop``; the full path where groups are nested.
        sha: The commit, in hexadecimal digits.
        paths: The files that it changed; None where the sender did not tell all of them, which counts as every file.
        tag: The version that the sender names for it, where it does.
        service: The one service that is meant, where the sender says so.
    """

    event: Event | None
    repository: str
    branch: str
    sha: str
    paths: tuple[str, ...] | None = None
    tag: str | None = None
    service: str | None = None


class OnMerge(Part):
    """A merge that releases the service."""

    repository: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)+$")
    """Whose merges: ``org/shop``; on GitLab the project's full path with its groups."""
    branch: str = Field("main", min_length=1)
    """The branch that was merged into."""
    paths: tuple[str, ...] = ()
    """Only merges that change one of these files: patterns as in ``.gitignore``, ``!`` takes some out again.
    Empty for every file."""
    event: Event = "push"
    """What tells of the merge. A pull request names no files, so each one counts as changing every file."""
    version: str = "{sha}"
    """The version to release. ``{sha}``, ``{short_sha}`` and ``{tag}``, the version that the sender names, are filled in."""
    image: str | None = None
    """An image to wait for before the release begins, such as ``registry.example.com/shop:{sha}``; ``{version}``
    is filled in, too."""
    image_within: PositiveDuration = timedelta(minutes=30)
    """How long it may take to be in its registry."""

    @field_validator("paths")
    @classmethod
    def _readable(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for number, pattern in enumerate(paths):
            try:
                readable = bool(pattern.strip()) and bool(GitIgnoreSpec.from_lines([pattern]))
            except ValueError:
                readable = False
            if not readable:
                msg = f"{number}: found {pattern!r}, expected a pattern such as 'services/shop/**'"
                raise ValueError(msg)
        return paths

    @field_validator("version")
    @classmethod
    def _a_version(cls, version: str) -> str:
        if not _VERSION.fullmatch(_filled(version, _SAMPLE)):
            msg = f"found {version!r}, expected a version without spaces, with {{sha}}, {{short_sha}} or {{tag}}"
            raise ValueError(msg)
        return version

    @field_validator("image")
    @classmethod
    def _an_image(cls, image: str | None) -> str | None:
        if image is not None and not _IMAGE.fullmatch(_filled(image, _SAMPLE | {"version": "1.4.2"})):
            msg = f"found {image!r}, expected an image with its tag, such as 'registry.example.com/shop:{{sha}}'"
            raise ValueError(msg)
        return image

    @cached_property
    def _patterns(self) -> GitIgnoreSpec:
        return GitIgnoreSpec.from_lines(self.paths)

    def misses(self, merge: Merge) -> str:
        """Why *merge* is not one of these; empty where it is."""
        if merge.repository.casefold() != self.repository.casefold():
            return f"repository: found {merge.repository!r}, expected {self.repository!r}"
        if merge.branch != self.branch:
            return f"branch: found {merge.branch!r}, expected {self.branch!r}"
        if merge.event not in (None, self.event):
            return f"event: found {merge.event!r}, expected {self.event!r}"
        if self.paths and merge.paths is not None and not any(map(self._patterns.match_file, merge.paths)):
            return f"paths: found {len(merge.paths)} file(s), expected one of {', '.join(self.paths)}"
        if merge.tag is None and (
            asks := [text for text in (self.version, self.image or "") if "{tag}" in text]
        ):
            return f"tag: found none in the event, expected one for {asks[0]!r}"
        return ""

    def version_of(self, merge: Merge) -> str:
        """The version that *merge* releases: the one that its sender names, or the service file's."""
        return merge.tag if merge.tag is not None else _filled(self.version, _fields(merge))

    def image_of(self, merge: Merge) -> str | None:
        """The image that *merge* waits for, if any."""
        if self.image is None:
            return None
        return _filled(self.image, _fields(merge) | {"version": self.version_of(merge)})


@dataclass(frozen=True)
class Wanted:
    """A release that a merge asks for.

    Attributes:
        image: What must be in its registry first; None for nothing.
        within: How long that may take.
    """

    service: str
    sha: str
    version: str
    image: str | None
    within: timedelta


def wanted(merge: Merge, services: Iterable[tuple[str, Sequence[OnMerge]]]) -> tuple[list[Wanted], list[str]]:
    """The releases that *merge* asks for, at most one of each service, and why the other services want none.

    Args:
        services: The name of each service, and the merges that its file waits for.
    """
    found, reasons = [], []
    for name, rules in services:
        if merge.service not in (None, name):
            continue
        misses = []
        for rule in rules:
            if missed := rule.misses(merge):
                misses.append(f"{name}: {missed}")
                continue
            release = Wanted(name, merge.sha, rule.version_of(merge), rule.image_of(merge), rule.image_within)
            found.append(release)
            break
        else:
            reasons += misses
    return found, reasons


def _fields(merge: Merge) -> dict[str, str]:
    tag = {} if merge.tag is None else {"tag": merge.tag}
    return {"sha": merge.sha, "short_sha": merge.sha[:SHORT], **tag}


def _filled(template: str, fields: dict[str, str]) -> str:
    """*template* with its fields; one that is not known stays as it is, braces and all."""
    return re.sub(r"\{(\w+)\}", lambda found: fields.get(found[1], found[0]), template)


def _listed(value: object) -> object:
    """One mapping where a list may stand.

    Raises:
        ValueError: Neither; not retried.
    """
    if isinstance(value, dict | OnMerge):
        return (value,)
    if isinstance(value, list | tuple):
        return value
    msg = f"found {value!r}, expected keys such as 'repository', or a list of such"
    raise ValueError(msg)


class _OneOrMany:
    """Shows editors that one mapping may stand for a list of one."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of a list, or of what it has in it."""
        several = handler(schema)
        return {"anyOf": [several["items"], several]}


OnMerges = Annotated[tuple[OnMerge, ...], BeforeValidator(_listed), _OneOrMany]
"""The merges that release a service: one, or a list."""
