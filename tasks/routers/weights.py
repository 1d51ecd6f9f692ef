"""Whole-number weights that give exact parts, and back from weights to a split. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import lcm

from tasks.domain.model import Slot, Split
from tasks.domain.units import WHOLE

SCALES = (100, WHOLE)
"""What weights add up to where they can: percent, which people read, else basis points."""


def parts_of(weights: Sequence[int]) -> list[Fraction]:
    """Each weight's part of the whole; all are 0 where there is no weight."""
    total = sum(weights)
    return [Fraction(weight, total) if total else Fraction(0) for weight in weights]


def whole_weights(parts: Sequence[Fraction], most: int) -> list[int]:
    """The smallest of the `SCALES` in which all *parts* are whole, else the smallest numbers that are exact.

    Args:
        most: The largest weight that may be written.

    Raises:
        ValueError: They are not exact with weights that small; not retried.
    """
    denominator = lcm(*(part.denominator for part in parts))
    scale = next((scale for scale in SCALES if scale % denominator == 0), denominator)
    weights = [int(part * scale) for part in parts]
    if max(weights) > most:
        msg = f"found parts that need weights up to {max(weights)}, expected at most {most}"
        raise ValueError(msg)
    return weights


def split_by(weights: Mapping[Slot, int]) -> Split:
    """The split that *weights* give, to the nearest basis point.

    Raises:
        ValueError: There is no weight at all; not retried.
    """
    total = sum(weights.values())
    if not total:
        msg = f"found no weight for any of {', '.join(weights) or 'the slots'}, expected some"
        raise ValueError(msg)
    shares = {slot: WHOLE * weight // total for slot, weight in weights.items()}
    by_rest = sorted(weights, key=lambda slot: -(WHOLE * weights[slot] % total))
    for slot in by_rest[: WHOLE - sum(shares.values())]:
        shares[slot] += 1
    return Split(shares)


def one_split(found: Iterable[Mapping[Slot, int]]) -> Split:
    """The split that each of a service's routes gives, by their weights.

    Raises:
        ValueError: They give different ones, or none; not retried.
    """
    splits = list(dict.fromkeys(split_by(weights) for weights in found))
    if len(splits) != 1:
        several = " and ".join(f"({split})" for split in splits) or "none"
        msg = f"found routes that are split {several}, expected all to be split alike"
        raise ValueError(msg)
    return splits[0]
