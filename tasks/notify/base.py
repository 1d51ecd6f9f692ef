"""Channel: one way to tell people, and what it is given to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import SecretStr

from tasks.domain.errors import TransientError
from tasks.domain.secrets import SecretPlace
from tasks.record import Record

CALL_TIMEOUT = timedelta(seconds=10)
"""How long a channel waits for the other side, at each step of a call."""
SecretReader = Callable[[SecretPlace], SecretStr]
"""Reads a secret now. Raises `TransientError` where it is not there: somebody may put it there yet."""
Thread = Mapping[str, str]
"""What a channel has to remember of a release between two messages; empty before the first."""


@dataclass(frozen=True)
class Links:
    """Where a message's links lead.

    Attributes:
        run_url: The page of a flow run, by its id.
        approve_url: Where a release's gate is answered, by its record at that moment; None where that is the run's page.
        approver_url: The same for one approver alone, who decides by it in their name.
    """

    run_url: Callable[[str], str]
    approve_url: Callable[[Record], str | None] | None = None
    approver_url: Callable[[str, Record], str | None] | None = None


@dataclass(frozen=True)
class Link:
    """A link and what it is called."""

    text: str
    url: str


@dataclass(frozen=True)
class Message:
    """What people are told, before any channel has put it in its own form.

    Attributes:
        id: The same at each try, and no other message's.
        thread: What it belongs to: a release's id, or a digest's name.
        subject: What its thread is called; the same in each message of the thread.
        headline: What happened and whether there is anything to do, in one line.
        details: More, a line each.
        is_call: A person is called for, or should know at once.
        is_last: Nothing comes after it in its thread.
        fields: The same for programs, JSON only.
    """

    id: str
    at: datetime
    event: str
    thread: str
    subject: str
    headline: str
    details: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    is_call: bool = False
    is_last: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


class HeldBackError(TransientError):
    """The other side asks for a pause.

    Args:
        pause: How long it wants to be left alone.
    """

    def __init__(self, message: str, pause: timedelta) -> None:
        self.pause = pause
        super().__init__(message)


class Channel(Protocol):
    """One way to tell people.

    No error's text, nor what it was raised from, holds a secret or anything that the other side
    has said beyond a code.
    """

    def send(self, message: Message, thread: Thread, *, again: bool) -> Thread:
        """Tell *message*.

        Args:
            again: An earlier try may have succeeded without our hearing of it.

        Returns:
            What is to be remembered for the next message.

        Raises:
            HeldBackError: The other side asks for a pause; retried after it.
            TransientError: It was not taken, or nobody knows; retried.
            PermanentError: It never will be taken; not retried.
        """
        ...


def one_line(text: object, longest: int = 300) -> str:
    """*text* from outside as part of a line: no control characters, not longer than *longest* characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return line if len(line) <= longest else f"{line[: longest - 4].rstrip()} ..."


def retry_after(value: str | None) -> timedelta:
    """What a ``Retry-After`` header asks for, at most ten minutes; a minute where it can't be read."""
    seconds = int(value) if value and value.isascii() and value.isdecimal() else 60
    return timedelta(seconds=min(seconds, 600))
