"""Version source: a file whose first line is the version."""

from __future__ import annotations

from pathlib import Path

from tasks.domain.errors import GoneError, PermanentError
from tasks.domain.versions import FileVersions
from tasks.versions.base import Found

LONGEST = 256
"""Characters of a version."""


class VersionFile:
    """Reads one file."""

    def __init__(self, versions: FileVersions) -> None:
        self._path = Path(versions.path).expanduser()

    def newest(self, stable: str) -> Found | None:
        """What its first line says; see `tasks.versions.base.VersionSource.newest`.

        Raises:
            GoneError: There is no such file; not retried.
            PermanentError: It cannot be read, or its first line is no version; not retried.
        """
        del stable
        try:
            with self._path.open(encoding="utf-8") as file:
                line = file.readline(LONGEST + 1)
        except FileNotFoundError as error:
            msg = f"{self._path}: found no such file, expected one whose first line is a version"
            raise GoneError(msg) from error
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{self._path}: found one that cannot be read ({error}), expected a line with a version"
            raise PermanentError(msg) from error
        version = line.strip()
        if not version or len(version) > LONGEST or any(not c.isprintable() or c.isspace() for c in version):
            msg = f"{self._path}: found {line[:40]!r} as its first line, expected a version without spaces"
            raise PermanentError(msg)
        return Found(version)
