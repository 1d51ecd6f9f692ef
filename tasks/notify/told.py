"""What one channel has told so far: a small file for each release and channel, replaced whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tasks.domain.errors import PermanentError
from tasks.notify.base import Thread


@dataclass(frozen=True)
class Told:
    """What a channel has told.

    Attributes:
        ids: Of messages that were told, or never will be.
        sending: Id of the message whose sending had begun when this was written; empty for none.
        thread: What the channel remembers.
        is_over: Nothing more will be told.
    """

    ids: tuple[str, ...] = ()
    sending: str = ""
    thread: Mapping[str, str] = field(default_factory=dict)
    is_over: bool = False

    def done(self, message: str, thread: Thread) -> Told:
        """This, with *message* told."""
        return replace(self, ids=(*self.ids, message), sending="", thread=dict(thread))


def read_told(path: Path) -> Told:
    """What the file says; nothing was told where there is none.

    Raises:
        PermanentError: It holds something else; not retried.
    """
    try:
        content = json.loads(path.read_text())
        return Told(**content | {"ids": tuple(content["ids"])})
    except (FileNotFoundError, NotADirectoryError):
        return Told()
    except (ValueError, TypeError, KeyError):
        msg = f"{path}: found something else, expected what was told so far; remove it to tell all again"
        raise PermanentError(msg) from None


def write_told(path: Path, told: Told) -> None:
    """Replace the file; a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        json.dump(asdict(told), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
