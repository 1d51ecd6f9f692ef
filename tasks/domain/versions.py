"""Where a service's new versions are found: a registry's tags, Git's tags, or a file."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tasks.domain.parts import Part, PositiveDuration

SEMVER = "semver"
"""The pattern that takes all tags that are semantic versions."""


_IMAGE = re.compile(
    r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
)
_ADDRESS = re.compile(r"(https?|ssh|git)://|file:///|/|[\w.-]+@[\w.-]+:")
_WITH_CREDENTIALS = re.compile(r"https?://[^/]*@|\w+://[^/]*:[^/]*@")


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        msg = f"found {pattern!r}, expected 'semver' or a regular expression ({error})"
        raise ValueError(msg) from error
    return pattern


Pattern = Annotated[str, AfterValidator(_regular)]


def _image(image: str) -> str:
    if not _IMAGE.fullmatch(image):
        msg = (
            f"found {image!r}, expected registry and repository without tag, as in 'docker.io/library/nginx'"
        )
        raise ValueError(msg)
    return image


def _address(address: str) -> str:
    if _WITH_CREDENTIALS.match(address):
        msg = "found an address with credentials, expected one without (use a credential helper)"
        raise ValueError(msg)
    if not _ADDRESS.match(address):
        msg = f"found {address!r}, expected an address such as 'https://git.example.com/team/shop.git'"
        raise ValueError(msg)
    return address


class _Tagged(Part):
    """What all sources of tags have."""

    pattern: Pattern = SEMVER
    """Which tags are versions: ``semver``, or a regular expression that a whole tag matches; a group
    ``(?P<version>...)`` in it says which part of the tag is compared."""
    prereleases: bool = False
    """Take versions such as ``1.5.0-rc.1``, too."""
    timeout: PositiveDuration = timedelta(seconds=20)
    """How long one answer may take."""


class OciVersions(_Tagged):
    """Tags, or the digest of one moving tag, in a registry.

    Credentials come from ``DAVY_REGISTRY_<HOST>_USER`` and ``..._PASSWORD``, the host in capitals with
    ``_`` for all but letters and digits, or from ``config.json`` in the folder ``DOCKER_CONFIG``.
    """

    kind: Literal["oci"] = "oci"
    image: Annotated[str, AfterValidator(_image)]
    """Registry and repository, as in ``registry.example.com/team/shop``, without tag."""
    tag: str | None = Field(None, pattern=r"^\w[\w.-]{0,127}$")
    """A tag that moves, such as ``latest``: its digest is the version."""
    order: Literal["semver", "created"] = "semver"
    """Which tag is the newest: the highest version, or the image that was built last."""
    plain_http: bool = False
    """Speak HTTP to the registry; one on this machine is always spoken to so."""

    @model_validator(mode="after")
    def _tag_or_tags(self) -> OciVersions:
        if self.tag and {"pattern", "order", "prereleases"} & self.model_fields_set and not self._unchanged:
            msg = f"found tag {self.tag!r} with pattern, order or prereleases, expected one way to choose"
            raise ValueError(msg)
        return self

    @property
    def _unchanged(self) -> bool:
        return (self.pattern, self.order, self.prereleases) == (SEMVER, "semver", False)

    @property
    def registry(self) -> str:
        """The registry's host, with its port."""
        return self.image.partition("/")[0]

    @property
    def repository(self) -> str:
        """The repository's name in its registry."""
        return self.image.partition("/")[2]


class GitVersions(_Tagged):
    """Tags of a Git repository; who reads it needs no password asked for."""

    kind: Literal["git"] = "git"
    repository: Annotated[str, AfterValidator(_address)]
    """Its address, without credentials."""


class FileVersions(Part):
    """A file whose first line is the version."""

    kind: Literal["file"] = "file"
    path: str = Field(min_length=1)
    """Relative ones count from the service file's folder."""


Versions = Annotated[OciVersions | GitVersions | FileVersions, Field(discriminator="kind")]
"""Where new versions are found, by ``kind``."""
