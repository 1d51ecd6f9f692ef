"""How long a call may take, and which are made again at once: a busy server has not decided anything yet.

One that says when to come back (``Retry-After``) is asked then. One that has kept silent for a call's whole
time is not asked again here: that is for whoever needs the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar

from urllib3.exceptions import NewConnectionError, ProtocolError

from tasks.cluster.errors import FAILURES, status_of

Answer = TypeVar("Answer")

CONNECT, ANSWER = 3.0, 10.0
"""Seconds that a connection, and an answer, may take."""
PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds before each further try; a step makes several of these, so that an outage of half a minute passes."""
LONGEST = 5.0
"""Seconds that a server which says when to come back may ask for; it is a carrier's lease that runs meanwhile."""
_BUSY = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


def made_again(call: Callable[..., Answer]) -> Answer:
    """Make *call*, which can be repeated, until it is answered or the pauses are used up.

    Args:
        call: Takes its time limits as the API's client does.

    Raises:
        Exception: What the last try raised, one of `FAILURES`.
    """
    for pause in PAUSES:
        try:
            return call(_request_timeout=(CONNECT, ANSWER))
        except FAILURES as error:
            asked = _asked_to_wait(error)
            if not _may_pass(error) or asked > LONGEST:
                raise
        time.sleep(max(pause, asked))
    return call(_request_timeout=(CONNECT, ANSWER))


def _may_pass(error: Exception) -> bool:
    """Whether the server is busy, takes no connections, or has ended this one."""
    reason = getattr(error, "reason", None)
    return status_of(error) in _BUSY or any(
        isinstance(one, NewConnectionError | ProtocolError) for one in (error, reason)
    )


def _asked_to_wait(error: Exception) -> float:
    """Seconds that the server asks for; 0 where it does not."""
    said = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    return float(said) if said.isdecimal() else 0.0
