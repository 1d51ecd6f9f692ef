"""Find the zeros of many decreasing functions at once: Brent's method as R's `uniroot` has it.

The functions that Kayenta searches are step functions, so what is found depends on every detail
of the search, and its verdicts on what is found. Hence this one and no other. Reference: R. Brent,
Algorithms for Minimization without Derivatives (1973), chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tasks.domain.pairs import Values
from tasks.judge.sample import Rows

Functions = Callable[[Rows, Values], Values]
"""The values of the functions with these numbers, each at its own point."""

TOLERANCE = 1e-4
"""How near to a zero is near enough: absolute, in the unit of the points."""
STEPS = 1001
_EPSILON = float(np.finfo(np.float64).eps)


def find_zeros(functions: Functions, ends: Values, at_ends: Values) -> Values:
    """(functions,) A zero of each between its two ends; NaN where a value on the way is NaN.

    Args:
        functions: Called with fewer and fewer of them.
        ends: (2, functions) The lower and the upper end of each.
        at_ends: Their values there.
    """
    found = ends[1].copy()
    rows: Rows = np.arange(len(found))
    points, values = ends[[0, 1, 0]], at_ends[[0, 1, 0]]  # the one before, the best, one beyond the zero
    for _ in range(STEPS):
        before = points[1] - points[0]
        swap = np.abs(values[2]) < np.abs(values[1])
        points, values = (np.where(swap, part[[1, 2, 1]], part) for part in (points, values))
        best = found[rows] = points[1]
        tolerance = 2 * _EPSILON * np.abs(best) + TOLERANCE / 2
        going = (np.abs(points[2] - best) / 2 > tolerance) & (values[1] != 0) & ~np.isnan(values[1])
        if not going.all():
            rows, before, tolerance = rows[going], before[going], tolerance[going]
            points, values = points[:, going], values[:, going]
        if not rows.size:
            break
        new = points[1] + _step(points, values, before, tolerance)
        at_new = functions(rows, new)
        passed = at_new * values[2] > 0
        points = np.stack((points[1], new, np.where(passed, points[1], points[2])))
        values = np.stack((values[1], at_new, np.where(passed, values[1], values[2])))
    found[np.isnan(at_ends).any(axis=0)] = np.nan
    return np.asarray(np.where(at_ends[0] == 0, ends[0], found))


def _step(points: Values, values: Values, before: Values, tolerance: Values) -> Values:
    """How far to go from the best point, at least by *tolerance*.

    By interpolation where that is trusted, else half-way to the point beyond.

    Args:
        before: The last step.
    """
    (a, b, c), (fa, fb, fc) = points, values
    with np.errstate(all="ignore"):
        u, v, w = fa / fc, fb / fc, fb / fa
        linear = a == c
        p = np.where(linear, (c - b) * w, w * ((c - b) * u * (u - v) - (b - a) * (v - 1)))
        k = np.where(linear, 1 - w, (u - 1) * (v - 1) * (w - 1))
        k, p = np.where(p > 0, -k, k), np.abs(p)
        trusted = (np.abs(before) >= tolerance) & (np.abs(fa) > np.abs(fb))
        trusted &= (p < 0.75 * (c - b) * k - np.abs(tolerance * k) / 2) & (p < np.abs(before * k / 2))
        step = np.where(trusted, p / k, (c - b) / 2)
    least = np.where(step > 0, tolerance, -tolerance)
    return np.where(np.abs(step) < tolerance, least, step)
