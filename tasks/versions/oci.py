"""Version source: an image registry, by the OCI distribution API (Docker's v2 API included)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tasks.domain.errors import PermanentError
from tasks.domain.versions import OciVersions
from tasks.versions.base import Found
from tasks.versions.oci_access import Access
from tasks.versions.order import Tag, is_prerelease, matching, newest

PAGE = 1000
"""Tags asked for at once; a registry may give fewer."""
MOST_CREATED = 500
"""Images whose time of birth is asked for, two questions each."""
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join(INDEXES + MANIFESTS)


class Registry:
    """Reads one repository of a registry."""

    def __init__(self, versions: OciVersions) -> None:
        self._versions = versions

    def newest(self, stable: str) -> Found | None:
        """The newest of its tags, or the digest of its moving one; see `tasks.versions.base.VersionSource.newest`.

        Raises:
            TransientError: The registry does not answer, or is overloaded; retried.
            GoneError: There is no such repository; not retried.
            ForbiddenError: The credentials are missing or refused; not retried.
            PermanentError: It is no registry, or has too many tags for `created`; not retried.
        """
        with Access(self._versions) as access:
            if self._versions.tag:
                digest = self._digest(access, self._versions.tag)
                return Found(digest, digest, self._digest_of_stable(access, stable))
            tag = self._newest_tag(access)
            if tag is None:
                return None
            return Found(tag.name, self._digest(access, tag.name), self._digest_of_stable(access, stable))

    def _newest_tag(self, access: Access) -> Tag | None:
        names = (name for page in access.pages(f"tags/list?n={PAGE}") for name in page.get("tags") or ())
        tags = matching(names, self._versions.pattern)
        if self._versions.order == "semver":
            return newest(tags, prereleases=self._versions.prereleases)
        stays = [tag for tag in tags if self._versions.prereleases or not is_prerelease(tag.compared)]
        if len(stays) > MOST_CREATED:
            msg = f"{self._versions.image}: found {len(stays)} tags to order by created, expected at most "
            msg += f"{MOST_CREATED}: give a narrower pattern"
            raise PermanentError(msg)
        return max(stays, key=lambda tag: (_created(access, tag.name), tag.name), default=None)

    def _digest_of_stable(self, access: Access, stable: str) -> str:
        if not stable or not all(letter.isalnum() or letter in "._-:" for letter in stable):
            return ""
        return stable if stable.startswith("sha256:") else self._digest(access, stable, missing=True)

    def _digest(self, access: Access, tag: str, *, missing: bool = False) -> str:
        """What *tag* points to; empty where there is no such tag and that is allowed."""
        answer = access.ask(f"manifests/{tag}", method="HEAD", accept=ACCEPT, missing=missing)
        digest = answer.headers.get("Docker-Content-Digest", "")
        if answer.is_success and not digest:
            msg = (
                f"{self._versions.image}:{tag}: found no Docker-Content-Digest, expected a registry's answer"
            )
            raise PermanentError(msg)
        return str(digest) if answer.is_success else ""


def _created(access: Access, tag: str) -> datetime:
    """When the image was built: for one of several platforms, the first of them.

    Raises:
        PermanentError: It does not say; not retried.
        TransientError: The registry does not answer; retried.
    """
    manifest = access.content(access.ask(f"manifests/{tag}", accept=ACCEPT))
    if platforms := [one for one in manifest.get("manifests") or () if _runs(one)]:
        manifest = access.content(access.ask(f"manifests/{platforms[0]['digest']}", accept=ACCEPT))
    digest = (manifest.get("config") or {}).get("digest")
    config = access.content(access.ask(f"blobs/{digest}")) if digest else {}
    try:
        created = datetime.fromisoformat(str(config.get("created")))
    except ValueError:
        created = None
    if created is None or created.tzinfo is None:
        msg = f"{tag}: found no time in its configuration's 'created', expected one: order by semver"
        raise PermanentError(msg)
    return created


def _runs(platform: dict[str, Any]) -> bool:
    """Whether an index's entry is an image, and not a signature or a proof of how one was built."""
    return str((platform.get("platform") or {}).get("os", "unknown")) != "unknown"
