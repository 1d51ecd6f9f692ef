"""Version source: the newest version of a service that somebody has published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Found:
    """The newest version that a source has.

    Attributes:
        version: What a release of it is asked for by.
        digest: What exactly it is now (an image's digest, a commit); empty where the source can't tell.
        stable_digest: What exactly the stable version is there; empty where the source can't tell.
    """

    version: str
    digest: str = ""
    stable_digest: str = ""

    def is_(self, stable: str) -> bool:
        """Whether it is *stable* already, by name or by content."""
        return self.version == stable or bool(self.digest and self.digest == self.stable_digest)


class VersionSource(Protocol):
    """Where a service's versions are published."""

    def newest(self, stable: str) -> Found | None:
        """The newest version; None where there is no version at all.

        Args:
            stable: The version that users are on; empty for a service without one.

        Raises:
            TransientError: The source does not answer, or is overloaded; retried.
            PermanentError: It does not exist, or refuses the credentials; not retried.
        """
        ...
