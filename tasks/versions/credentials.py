"""Who Davy is at a registry: from the environment, or from Docker's configuration; never from a service file."""

from __future__ import annotations

import binascii
import json
import os
import re
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

from tasks.domain.errors import InputError, PermanentError

HUB = "docker.io"
_HUB_IN_DOCKER = "https://index.docker.io/v1/"
"""What Docker's configuration calls Docker Hub."""


@dataclass(frozen=True)
class Credentials:
    """A name and a password, which is never shown."""

    user: str
    password: str = field(repr=False)


def credentials_of(registry: str) -> Credentials | None:
    """Those for *registry* (host and port); None to ask without.

    Raises:
        InputError: Only one of the two variables is set; not retried.
        PermanentError: Docker's configuration cannot be read; not retried.
    """
    name = f"DAVY_REGISTRY_{re.sub(r'[^A-Z0-9]', '_', registry.upper())}"
    user, password = (os.environ.get(f"{name}_{part}", "") for part in ("USER", "PASSWORD"))
    if user and password:
        return Credentials(user, password)
    if user or password:
        missing = f"{name}_{'PASSWORD' if user else 'USER'}"
        raise InputError(missing, None, "it set in the environment, like the other one")
    folder = os.environ.get("DOCKER_CONFIG")
    return _of_docker(Path(folder) / "config.json", registry) if folder else None


def _of_docker(path: Path, registry: str) -> Credentials | None:
    keys = (registry, f"https://{registry}", *([_HUB_IN_DOCKER] if registry == HUB else []))
    try:
        known = json.loads(path.read_text())["auths"] if path.exists() else {}
        entry = next((known[key] for key in keys if key in known), None)
        if not entry or not entry.get("auth"):
            return None
        user, colon, password = b64decode(entry["auth"]).decode().partition(":")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, binascii.Error) as error:
        msg = f"{path}: found one that cannot be read ({type(error).__name__}), expected Docker's 'auths'"
        raise PermanentError(msg) from None
    if not colon:
        msg = f"{path}: found no user and password for {registry}, expected both in its 'auth'"
        raise PermanentError(msg)
    return Credentials(user, password)
