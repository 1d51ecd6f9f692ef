"""Durations and shares as people write them, and as the code holds them.

Outside, a duration is a number with a unit (``30s``, ``1.5m``, ``2h``, ``250ms``) and a
share is a percentage with at most two decimals. Inside, they are `timedelta` and basis
points (``int``, 0 to 10,000).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite, nan
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

WHOLE = 10_000
"""All of a service's live requests, in basis points."""

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_LONGEST = Decimal(10_000 * 86_400 * 1000)
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)")
_DURATION_HELP = "a number with a unit: ms, s, m, h or d, for example '30s'"
_PERCENT_HELP = "a percentage that is not negative, for example 20"
_SHARE_HELP = "a percentage from 0 to 100 with at most two decimals, for example 2.5"


def parse_duration(value: object) -> timedelta:
    """Read a duration such as ``30s``; a `timedelta` passes through.

    Raises:
        ValueError: No unit, an unknown one, or a negative number; not retried.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        msg = f"found {value!r}, expected {_DURATION_HELP}"
        raise ValueError(msg)
    milliseconds = Decimal(match["number"]) * _SECONDS[match["unit"]] * 1000
    if milliseconds > _LONGEST or milliseconds % 1:
        msg = f"found {value!r}, expected whole milliseconds, at most 10000d"
        raise ValueError(msg)
    return timedelta(milliseconds=int(milliseconds))


def format_duration(value: timedelta) -> str:
    """Write a duration with the largest unit that keeps it whole."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        whole, rest = divmod(milliseconds, int(_SECONDS[unit] * 1000))
        if whole and not rest:
            return f"{whole}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_share(value: object) -> int:
    """Read a percentage (``2.5`` or ``"2.5%"``) as basis points.

    Raises:
        ValueError: Not a percentage, outside 0 to 100, or too many decimals; not retried.
    """
    text = value.strip().removesuffix("%").strip() if isinstance(value, str) else str(value)
    try:
        percent = Decimal(text)
    except InvalidOperation:
        percent = Decimal("NaN")
    possible = not isinstance(value, bool) and percent.is_finite() and 0 <= percent <= 100  # noqa: PLR2004
    points = percent * 100 if possible else Decimal("NaN")
    if not possible or points % 1:
        msg = f"found {value!r}, expected {_SHARE_HELP}"
        raise ValueError(msg)
    return int(points)


def parse_percent(value: object) -> float:
    """Read a percentage (``20`` or ``"20%"``) that may be above 100.

    Raises:
        ValueError: Not a percentage, or negative; not retried.
    """
    text = value.strip().removesuffix("%").strip() if isinstance(value, str) else str(value)
    try:
        percent = float(text)
    except ValueError:
        percent = nan
    if isinstance(value, bool) or not isfinite(percent) or percent < 0:
        msg = f"found {value!r}, expected {_PERCENT_HELP}"
        raise ValueError(msg)
    return percent


def to_percent(points: int) -> float:
    """Basis points as the percentage that people read: ``250`` is ``2.5``."""
    return points / 100


def format_share(points: int) -> str:
    """Basis points as text: ``250`` is ``2.5%``."""
    return f"{points / 100:g}%"


_DURATION_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$",
    "examples": ["30s", "5m"],
}
_SHARE_SCHEMA: dict[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": 100,
    "description": "percent of live requests, at most two decimals",
    "examples": [5, 2.5],
}

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""A time span in a service file: ``30s``."""

Share = Annotated[
    int,
    BeforeValidator(parse_share),
    PlainSerializer(to_percent, return_type=float),
    WithJsonSchema(_SHARE_SCHEMA),
]
"""A share in a service file: percent outside, basis points inside."""

Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    WithJsonSchema({"type": "number", "minimum": 0, "description": "percent", "examples": [20]}),
]
"""A percentage that is no share: ``20`` or ``20%`` outside, ``20.0`` inside."""
