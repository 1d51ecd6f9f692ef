"""A service leaves Envoy."""

from __future__ import annotations

from datetime import timedelta

from tasks.domain.errors import TransientError
from tasks.routers import envoy_admin as admin
from tasks.routers import envoy_files as files

_TAKE_UP = timedelta(seconds=2)
"""How long Envoy may take."""


def unregister(service: str) -> None:
    """Take the service's listeners, clusters and routes away; nothing there is no error.

    Meant for services without a release under way: it carries no lease.

    Raises:
        TransientError: Envoy does not answer, or did not take it up yet; retried.
    """
    folder = files.service_folder(service) / "current"
    files.define(folder, None)
    left = admin.wait_for(lambda: admin.active_digests(service), lambda left: not left, _TAKE_UP)
    if left:
        msg = f"{service}: found {len(left)} clusters and listeners in Envoy, expected none"
        raise TransientError(msg)
    for path in folder.glob("*.json"):
        if path.name != "lease.json":
            files.replace(path, None)
