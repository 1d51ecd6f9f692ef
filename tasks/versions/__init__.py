"""Version sources, by the kind that a service file uses; each is imported when one is opened."""

from __future__ import annotations

from pkgutil import resolve_name

from tasks.domain.versions import Versions
from tasks.versions.base import Found, VersionSource

__all__ = ["SOURCES", "Found", "VersionSource", "open_versions"]

SOURCES = {
    "oci": "tasks.versions.oci:Registry",
    "git": "tasks.versions.git:Repository",
    "file": "tasks.versions.file:VersionFile",
}


def open_versions(versions: Versions) -> VersionSource:
    """The version source that the service file names."""
    source: VersionSource = resolve_name(SOURCES[versions.kind])(versions)
    return source
