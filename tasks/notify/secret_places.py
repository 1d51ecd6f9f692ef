"""Read a secret from the place that a service file names, at the moment when it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from tasks.domain.errors import TransientError
from tasks.domain.secrets import SecretPlace
from tasks.notify.base import SecretReader

BlockReader = Callable[[str], SecretStr]
"""Reads a Secret block by its name. Raises `TransientError` where it can't."""


def secret_reader(read_block: BlockReader) -> SecretReader:
    """A reader of all places.

    Args:
        read_block: Reads those that are in Prefect.
    """

    def read(place: SecretPlace) -> SecretStr:
        if place.block is not None:
            secret = read_block(place.block)
        elif place.file is not None:
            secret = _from_file(place.file)
        else:
            secret = SecretStr(os.environ.get(place.name, ""))
        value = secret.get_secret_value().strip()
        if not value or not value.isprintable():
            found = "nothing" if not value else "control characters"
            msg = f"secret in {place}: found {found}, expected one line of text"
            raise TransientError(msg)
        return SecretStr(value)

    return read


def _from_file(path: str) -> SecretStr:
    try:
        return SecretStr(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        msg = f"secret in file {path}: found {reason}, expected a file that can be read"
        raise TransientError(msg) from None
