"""Carriers that die between two calls of the API server, and what is looked at after each call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tasks.cluster import Cluster, Json
from tasks.cluster.kinds import Kind

CHANGING = ("server_side_apply", "replace", "create", "delete")


class DiedError(BaseException):
    """The process is gone."""


@contextmanager
def looking(cluster: Cluster, look: Callable[[], object]) -> Iterator[None]:
    """Look after each call that changes something."""
    real = cluster._call

    def call(kind: Kind, subject: str, verb: str, **options: Any) -> Json | None:  # noqa: ANN401
        answer = real(kind, subject, verb, **options)
        if verb in CHANGING:
            look()
        return answer

    with patch.object(cluster, "_call", call):
        yield


@contextmanager
def dying(cluster: Cluster, changes: int) -> Iterator[None]:
    """The process dies right before it changes something for that many times, from 1."""
    real, left = cluster._call, changes

    def call(kind: Kind, subject: str, verb: str, **options: Any) -> Json | None:  # noqa: ANN401
        nonlocal left
        left -= verb in CHANGING
        if not left:
            raise DiedError
        return real(kind, subject, verb, **options)

    with patch.object(cluster, "_call", call):
        yield


@contextmanager
def meanwhile(cluster: Cluster, verb: str, act: Callable[[], object]) -> Iterator[None]:
    """Something else happens right before the first call of *verb*, as to a carrier that froze there."""
    real, acted = cluster._call, False

    def call(kind: Kind, subject: str, asked: str, **options: Any) -> Json | None:  # noqa: ANN401
        nonlocal acted
        if asked == verb and not acted:
            acted = True
            act()
        return real(kind, subject, asked, **options)

    with patch.object(cluster, "_call", call):
        yield


@dataclass(frozen=True)
class Stale:
    """A lease that was lost, and whose holder has not noticed."""

    epoch: int = 1
    release: str = "first"

    def check(self) -> None:
        """It believes that it holds it."""
