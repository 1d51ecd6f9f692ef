"""What a service needs of the machine, ports and file watches: whether it can have them."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from tasks.domain.errors import InputError, PermanentError
from tasks.domain.model import Slot
from tasks.domain.spec import ServiceFile
from tasks.routers import envoy_admin as admin
from tasks.routers import envoy_files as files
from tasks.routers.envoy_config import port_of

WATCHES_AT_START = 4
"""Inotify instances that Envoy takes before it knows any service; 3 were seen."""
WATCHES = len(Slot) + 2
"""Those that it takes for one service: a file for each slot, and one or two for its routes."""
_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")


def refuse_ports(service: ServiceFile) -> None:
    """Find ports that cannot be had, before anything is touched.

    Raises:
        InputError: One is in use or is another service's; not retried.
        TransientError: Envoy does not answer; retried.
    """
    router = service.envoy
    if router.port == router.preview_port:
        raise InputError("router.preview_port", router.port, "another port than router.port")
    own = {port_of(found) for found in admin.active(service.service) if "address" in found}
    others = files.ports_of_others(service.service)
    for field, port in (("router.port", router.port), ("router.preview_port", router.preview_port)):
        if port in others:
            raise InputError(field, port, f"a port that service {others[port]!r} does not use")
        if port is not None and port not in own and not _is_free(port):
            raise InputError(field, port, "a free port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Envoy does it: connections of a listener that has just gone are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def refuse_watches(needed: int) -> None:
    """Make sure that Envoy can watch more files: it would end, with all services, where it can't.

    Args:
        needed: Inotify instances; there are none to count on systems other than Linux.

    Raises:
        PermanentError: The user has too few left; not retried.
    """
    if not _LIMIT.exists():
        return
    allowed, used = int(_LIMIT.read_text()), _watches_used()
    if used + needed > allowed:
        msg = (
            f"inotify: found {used} of this user's {allowed} instances in use, expected {needed} to be free "
            "for Envoy; raise fs.inotify.max_user_instances"
        )
        raise PermanentError(msg)


def _watches_used() -> int:
    """Inotify instances of this user's processes."""
    used = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                links = (str(entry.readlink()) for entry in (process / "fd").iterdir())
                used += sum(link == "anon_inode:inotify" for link in links)
    return used
