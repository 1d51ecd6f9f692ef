"""Kayenta's classification of one metric, read off its specification without any thought of speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from tasks.domain.canary import Direction, MetricConfig, NanStrategy
from tasks.domain.pairs import Values


@dataclass(frozen=True)
class Plain:
    """What the plain reading finds."""

    label: str
    lower: float = nan
    estimate: float = nan
    upper: float = nan


@np.errstate(over="ignore", invalid="ignore")
def classify_plainly(metric: MetricConfig, control: Values, experiment: Values) -> Plain:
    """One metric, with the mean ratio as its effect; neither outliers nor two constants are dealt with."""
    x, y = (_prepare(values, metric.nan) for values in (experiment, control))
    if not len(x) or not len(y):
        return Plain("Pass" if metric.nan is NanStrategy.REPLACE else "Nodata")
    if np.array_equal(np.sort(x), np.sort(y)) or len(set(x) | set(y)) == 1:
        return Plain("Pass")
    normal = NormalDist().inv_cdf(1 - 0.02 / 2)
    ends = min(x) - max(y), max(x) - min(y)
    try:
        lower, upper = _bound(x, y, normal), _bound(x, y, -normal)
        estimate = _root(lambda shift: _statistic(x, y, shift), *ends)
    except ZeroDivisionError:
        return Plain("Error")
    ratio = np.mean(x) / np.mean(y) if np.mean(x) and np.mean(y) else nan
    label = "Pass"
    margin, effect = 0.25 * abs(estimate), metric.effect
    if metric.direction is not Direction.INCREASE and upper < -margin:
        label = "Low" if isnan(ratio) or ratio <= effect.allowed_decrease else label
    if metric.direction is not Direction.DECREASE and lower > margin:
        label = "High" if isnan(ratio) or ratio >= effect.allowed_increase else label
    return Plain(label, lower, estimate, upper)


def _prepare(values: Values, strategy: NanStrategy) -> Values:
    if strategy is NanStrategy.REPLACE:
        return np.nan_to_num(values, nan=0.0)
    return values[~np.isnan(values)]


def _bound(x: Values, y: Values, quantile: float) -> float:
    low, high = min(x) - max(y), max(x) - min(y)
    if _statistic(x, y, low) - quantile <= 0:
        return float(low)
    if _statistic(x, y, high) - quantile >= 0:
        return float(high)
    return _root(lambda shift: _statistic(x, y, shift) - quantile, low, high)


def _statistic(x: Values, y: Values, shift: float) -> float:
    m, n = len(x), len(y)
    pooled = np.concatenate((x - shift, y))
    surplus = rankdata(pooled)[:m].sum() - m * (m + 1) / 2 - m * n / 2
    ties = np.unique(pooled, return_counts=True)[1].astype(np.float64)
    within = (m + n + 1) - (ties**3 - ties).sum() / ((m + n) * (m + n - 1))
    return float(surplus - np.sign(surplus) / 2) / sqrt(m * n / 12 * within)


def _root(function: Callable[[float], float], low: float, high: float) -> float:  # noqa: C901, PLR0912 - one loop, as the specification has it
    a, b, c = low, high, low
    fa, fb = function(low), function(high)
    fc = fa
    if fa == 0:
        return float(low)
    if fb == 0:
        return float(high)
    for _ in range(1001):
        previous = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = 2 * 2**-52 * abs(b) + 5e-5
        step = (c - b) / 2
        if abs(step) <= tolerance or fb == 0:
            return float(b)
        if abs(previous) >= tolerance and abs(fa) > abs(fb):
            if a == c:
                s = fb / fa
                p, k = (c - b) * s, 1 - s
            else:
                u, v, w = fa / fc, fb / fc, fb / fa
                p = w * ((c - b) * u * (u - v) - (b - a) * (v - 1))
                k = (u - 1) * (v - 1) * (w - 1)
            if p > 0:
                k = -k
            else:
                p = -p
            if p < 0.75 * (c - b) * k - abs(tolerance * k) / 2 and p < abs(previous * k / 2):
                step = p / k
        if abs(step) < tolerance:
            step = tolerance if step > 0 else -tolerance
        a, fa = b, fb
        b += step
        fb = function(b)
        if (fb > 0 and fc > 0) or (fb < 0 and fc < 0):
            c, fc = a, fa
    return float(b)
