"""The files that Envoy reads: each replaced whole, each service's below its newest lease.

A carrier writes into the folder of its own epoch only, and Envoy reads through the link
``current``. Envoy does not follow what happens behind the link; it reads again whenever
something is renamed in the service's folder, so after a write any file is renamed there.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from tasks.domain.errors import TransientError
from tasks.domain.model import Address, Lease, Slot
from tasks.domain.settings import settings
from tasks.routers.envoy_config import Json, addresses_of, digest, document, endpoints_file, port_of

_LOCK_WITHIN = timedelta(seconds=3)
_DEFINITION = "service.json"


def service_folder(service: str) -> Path:
    """The folder of all leases of *service*."""
    return settings().routes / service


def epoch_folder(service: str, lease: Lease) -> Path:
    """The only folder in which the carrier of *lease* writes."""
    return service_folder(service) / f"epoch-{lease.epoch:06d}"


def read(path: Path) -> Json | None:
    """A file's content; None when it is not there."""
    try:
        content: Json = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def replace(path: Path, content: Json | None) -> None:
    """Put *content* in the place of *path*, whole; None takes the file away.

    Raises:
        TransientError: The folder is gone or the disk does not take it; retried.
    """
    temporary = path.parent / f".{path.name}.{uuid4().hex}"
    try:
        if content is None:
            path.unlink(missing_ok=True)
            return
        temporary.write_text(json.dumps(content))
        temporary.replace(path)
    except OSError as error:
        msg = f"{path}: found {error}, expected to write it"
        raise TransientError(msg) from error


def renewed(known: Json | None, resource: Json, lease: Lease) -> Json:
    """The file for *resource*: the known one if that holds it already, else with a new version."""
    if known is not None and known["resources"] == [resource]:
        return known
    return document(f"{lease.epoch}.{uuid4().hex[:12]}", [resource])


def poke(service: str) -> None:
    """Make Envoy read the service's routes and endpoints again."""
    replace(service_folder(service) / ".poke", {})


def published(folder: Path, slot: Slot) -> tuple[Address, ...]:
    """The slot's addresses in an epoch's folder; sorted."""
    found = read(folder / endpoints_file(slot))
    return tuple(sorted(addresses_of(found["resources"][0]))) if found else ()


def definitions() -> dict[str, Json]:
    """What each registered service has written of itself, by service."""
    paths = sorted(settings().routes.glob(f"*/current/{_DEFINITION}"))
    found = {path.parts[-3]: read(path) for path in paths}
    return {service: content for service, content in found.items() if content is not None}


def ports_of_others(service: str) -> dict[int, str]:
    """By port, which other service has it."""
    others = {name: content for name, content in definitions().items() if name != service}
    return {port_of(listener): name for name, content in others.items() for listener in content["listeners"]}


def define(folder: Path, content: Json | None) -> None:
    """Write a service's definition into an epoch's folder, and compose all services' anew.

    Raises:
        TransientError: Somebody else holds the lock for long, or the disk is full; retried.
    """
    replace(folder / _DEFINITION, content)
    compose()


def compose() -> None:
    """Write ``cds.json`` and ``lds.json``: the clusters and listeners of all services.

    Raises:
        TransientError: Somebody else holds the lock for long, or the disk is full; retried.
    """
    settings().routes.mkdir(parents=True, exist_ok=True)
    with _locked(settings().routes / ".lock"):
        services = definitions().values()
        for name, kind in (("cds.json", "clusters"), ("lds.json", "listeners")):
            resources = [resource for service in services for resource in service[kind]]
            composed = document(digest(resources), resources)
            if read(settings().routes / name) != composed:
                replace(settings().routes / name, composed)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes from a process that ends, but not from a frozen one."""
    end = time.monotonic() + _LOCK_WITHIN.total_seconds()
    with path.open("w") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= end:
                msg = (
                    f"{path}: found it locked for {_LOCK_WITHIN.total_seconds():g} s, expected it to be free"
                )
                raise TransientError(msg)
            time.sleep(0.02)
        yield
