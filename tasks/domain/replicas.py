"""Counts of replicas, as a service file gives them and as a rolling release moves them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema


def _replicas(value: object) -> object:
    """Accept ``25%`` or a whole number of replicas.

    Raises:
        ValueError: Neither; not retried.
    """
    text = str(value).strip()
    number = text.removesuffix("%")
    whole = number.isascii() and number.isdecimal() and not isinstance(value, bool)
    if not whole or (text.endswith("%") and int(number) > 100):  # noqa: PLR2004 - percent
        msg = f"found {value!r}, expected a number of replicas or a percentage such as '25%'"
        raise ValueError(msg)
    return text


Replicas = Annotated[
    str,
    BeforeValidator(_replicas),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^\d+%?$"}, {"type": "integer", "minimum": 0}],
            "examples": ["25%", 1],
        }
    ),
]
"""Replicas, as a number or as a percentage of all."""


def count_of(batch: str, replicas: int, rounding: Callable[[float], int]) -> int:
    """*batch* of all *replicas*, as a number; *rounding* is for percentages."""
    if batch.endswith("%"):
        return int(rounding(int(batch.removesuffix("%")) * replicas / 100))
    return int(batch)


@dataclass(frozen=True)
class Batch:
    """One move of a rolling release, in replicas.

    Attributes:
        moved: The new version's share while the batch starts, in basis points: what its replicas
            so far are of all that stay.
        room: How many of the old version stay while the new ones start.
        new: How many of the new version run then.
        old: How many of the old version stay at the end.
        share: The new version's share, in basis points.
    """

    moved: int
    room: int
    new: int
    old: int
    share: int
