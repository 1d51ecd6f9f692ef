"""The service files of a folder, as they are now, and the releases that a merge asks of them."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.service_files import SUFFIXES, files_in, load
from deployments.webhook_spool import Release, State
from tasks.domain.errors import InputError, TransientError
from tasks.domain.merges import SHORT, Merge, Wanted, wanted
from tasks.domain.spec import ServiceFile

READ_WITH = (*SUFFIXES, ".json")
"""Files that may be part of a service file; when one changes, the folder is read again."""
log = logging.getLogger("davy.webhooks")

Stamp = tuple[tuple[str, int, int], ...]


class ServiceFolder:
    """Service files, read again when one changes. One that has become wrong is said, and stands as it was before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._read: dict[Path, ServiceFile] = {}
        if not folder.is_dir():
            raise InputError("folder", str(folder), "a folder with service files")

    def services(self) -> dict[str, ServiceFile]:
        """The services by name; reads files only where some have changed.

        Raises:
            TransientError: The folder can't be read; retried by the caller.
        """
        with self._lock, _told(self._folder):
            stamp = self._looks()
            if stamp != self._stamp:
                self._read = self._read_all()
                self._stamp = stamp
            return {service.service: service for service in reversed(self._read.values())}

    def _looks(self) -> Stamp:
        found = []
        for path in self._folder.iterdir():
            if path.suffix in READ_WITH and path.is_file():
                status = path.stat()
                found.append((path.name, status.st_mtime_ns, status.st_size))
        return tuple(sorted(found))

    def _read_all(self) -> dict[Path, ServiceFile]:
        read: dict[Path, ServiceFile] = {}
        for path in files_in(self._folder):
            try:
                read[path] = load(path)
            except InputError as error:
                before = self._read.get(path)
                still = "it is used as it was before" if before else "it is left out"
                log.error("%s: %s; %s", path.name, error, still)  # noqa: TRY400 - the message is made for people
                if before:
                    read[path] = before
        _say_twice(read)
        return read


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{folder}: found {error.strerror}, expected a folder that can be read"
        raise TransientError(msg) from error


def _say_twice(read: dict[Path, ServiceFile]) -> None:
    """Of two files with one service the first counts."""
    seen: dict[str, Path] = {}
    for path, service in read.items():
        first = seen.setdefault(service.service, path)
        if first != path:
            log.error(
                "%s: found service %r, expected one that %s does not have", path, service.service, first
            )


def releases_of(merge: Merge, services: dict[str, ServiceFile]) -> tuple[list[Release], list[str]]:
    """The releases that *merge* asks for, and why the other services want none."""
    rules = [(name, service.on_merge) for name, service in services.items() if service.on_merge]
    found, reasons = wanted(merge, rules)
    return [_release(one, services[one.service]) for one in found], reasons


def _release(one: Wanted, service: ServiceFile) -> Release:
    now = time.time()
    parameters = {
        "service": service.model_dump(mode="json"),
        "version": one.version,
        "release": release_id(one.service, one.sha),
    }
    return Release(
        service=one.service,
        sha=one.sha,
        at=now,
        version=one.version,
        flow=service.strategy,  # type: ignore[attr-defined]
        parameters=parameters,
        image=one.image,
        until=now + one.within.total_seconds(),
        state=State.WAITING if one.image else State.READY,
    )


def release_id(service: str, sha: str) -> str:
    """The id of the one release of a service and commit."""
    return f"{service}-{sha[:SHORT]}-{hashlib.sha256(f'{service} {sha}'.encode()).hexdigest()[:8]}"
