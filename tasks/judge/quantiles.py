"""Tests of latency quantiles from bucket counts that may be looked at after every sample.

Built from the bets of `sequential`. Only counts at bucket bounds are known, so only what a bound
shows is claimed: that a quantile lies above or at most at it. Needs numpy only; state is one number
for each series, bucket and tilt, whatever the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
import numpy.typing as npt

from tasks.domain.errors import InputError
from tasks.judge.sequential import (
    LATE,
    LEAST,
    TILTS,
    WEIGHTS,
    Array,
    Bets,
    Bursts,
    along_first,
    part_of,
    payoff,
    threshold,
)

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Range:
    """Where a quantile lies: above `lower`, at most `upper`; ms, shape (series,).

    A lower end of 0 or an upper end of infinity says that nothing is known on that side.
    """

    lower: Array
    upper: Array


class QuantileTest:
    """Whether a quantile of a candidate's latencies is worse than another's, for many series at once.

    The tolerated latency is t(Q) = max((1 + ratio) * Q, floor), Q being the other's quantile. Two
    things must be shown before the candidate is called worse:

    *The quantile itself*, as in arXiv 1906.09712 (Howard and Ramdas), where a confidence sequence of
    a quantile is a test of a Bernoulli chance at each value: whether a latency lies above x is a trial,
    and the quantile is above x exactly when its chance exceeds 1 - q. For bounds x' and x with t(x') <= x:
    if the other's quantile is proven to be at most x', and the candidate's to be above x, the
    candidate's is above what is tolerated. Both proofs get stronger in one direction of x, so each
    can be wrong only at one bound (the one next to the true quantile), and the best pair
    of bounds may be picked: log 2 is subtracted for the two arms, nothing for the number of bounds.
    That holds while each arm's latencies stay alike.

    *More slow requests*, since latencies drift with the hour and shares change meanwhile, by which a
    candidate that got its requests in slow hours only looks slow. Of all requests of an interval that were slow
    (above x for the candidate, above x' for the other), the candidate's are betted to be no more than
    its part of requests, which is the ratio bet of `sequential.CountTest`, averaged over the pairs of bounds.
    It has no reason to grow while the candidate is no slower than t(other's) at each moment.

    Slow requests come in bursts (a pause makes many wait), so all growth is divided by what is learnt of
    their size, as in `CountTest`, at the bounds next to the quantile.

    Args:
        q: Which quantile, above 0 and below 1, shape (series,).
        ratio: By how much the candidate's may exceed the other's, relative; shape (series,).
        floor: A latency in ms that is always tolerated; shape (series,).
        bounds: Upper bounds of the buckets in ms, growing, positive, the last one infinite.
        dispersion: How many slow requests come together, 1 or more; None learns it.

    Raises:
        InputError: A value is out of range; not retried.
    """

    def __init__(
        self, q: Array, ratio: Array, floor: Array, bounds: Array, dispersion: float | None = None
    ) -> None:
        self._learns, self._divisor = dispersion is None, np.full(len(q), dispersion or 1.0)
        self._q, self._ratio, self._floor = q[:, None], ratio[:, None], floor[:, None]
        self._bounds = np.append(0.0, bounds)  # every latency is above 0 ms
        self._refuse()
        shape = (len(q), len(self._bounds))
        self._slow = np.zeros((2, *shape))
        self._below, self._beyond = self._pairs()
        self._paired = self._below % len(self._bounds) > 0
        self._candidate_above = Bets(shape, TILTS, late=LATE)
        self._more_slow = Bets(shape, TILTS, late=LATE)
        self._fewer_slow = Bets(shape, -TILTS)
        self._bursts = Bursts(shape)

    def _refuse(self) -> None:
        growing = np.all(np.diff(self._bounds) > 0) and np.isinf(self._bounds[-1])
        for name, values, good, expected in (
            ("q", self._q, (self._q > 0) & (self._q < 1), "above 0 and below 1"),
            ("ratio", self._ratio, self._ratio >= 0, "at least 0"),
            ("floor", self._floor, self._floor >= 0, "at least 0"),
            ("dispersion", self._divisor, self._divisor >= 1, "at least 1"),
            ("bounds", self._bounds[1:], growing, "above 0, growing, the last one infinite"),
        ):
            if not np.all(good):
                raise InputError(name, values.ravel().tolist(), expected)

    def _pairs(self) -> tuple[Indices, Indices]:
        """For each bound x the largest x' with t(x') <= x (or 0 ms), and the smallest with t(x') >= x.

        Counted through all series, as `take` does.
        """
        tolerated = np.maximum((1 + self._ratio) * self._bounds, self._floor)[:, None, :]
        wanted = self._bounds[:, None]
        below = np.maximum((tolerated <= wanted).sum(axis=-1) - 1, 0)
        begins = np.arange(len(below))[:, None] * len(self._bounds)
        return begins + below, begins + (tolerated < wanted).sum(axis=-1)

    def update(self, candidate: Array, other: Array) -> None:
        """Take in what happened since the last update.

        Args:
            candidate: Increments of the counts at most at each bound (cumulative over the bounds), of
                one interval, shape (series, buckets), or of several, shape (rows, series, buckets)
                in order of time. A series' row counts as not seen where either arm has a NaN.
        """
        arms = np.stack(np.broadcast_arrays(candidate, other)).astype(np.float64)
        arms = np.where(np.isnan(arms).any(axis=(0, -1), keepdims=True), 0.0, arms)
        counts = np.maximum.accumulate(arms, axis=-1)
        requests = counts[..., -1:]
        slow = np.concatenate((requests, requests - counts), axis=-1).reshape(2, -1, *self._slow.shape[1:])
        for candidate_slow, other_slow in zip(*slow, strict=True):
            self._take(candidate_slow, other_slow)

    def _take(self, candidate: Array, other: Array) -> None:
        """Settle one interval's bets on requests above each bound; all are above the first, 0."""
        requests, part = candidate[:, :1], part_of(candidate[:, :1], other[:, :1])
        divisor = self._divisor[:, None]
        self._candidate_above.settle(candidate, requests, 1 - self._q, divisor)
        for bets, pairs in ((self._more_slow, self._below), (self._fewer_slow, self._beyond)):
            slow = candidate + other.take(pairs)
            bets.settle(candidate, slow, part, divisor)
        self._slow += (candidate, other)
        if self._learns:
            self._bursts.learn(candidate, other, part)
            self._divisor = self._learnt()

    def _learnt(self) -> Array:
        """The larger size of bursts at the bounds next to the quantile of all latencies so far."""
        slow = self._slow.sum(axis=0)
        below = (slow[:, :-1] >= (1 - self._q) * slow[:, :1]).sum(axis=-1, keepdims=True) - 1
        sizes = np.take_along_axis(self._bursts.size, np.concatenate((below, below + 1), axis=-1), axis=-1)
        return np.asarray(sizes.max(axis=-1))

    @property
    def dispersion(self) -> Array:
        """What growth is divided by, shape (series,)."""
        return self._divisor

    @property
    def log_worse(self) -> Array:
        """Evidence that the candidate's quantile is above what is tolerated, shape (series,)."""
        other = self._wealth(1, -TILTS).take(self._below)
        quantile = np.minimum(self._candidate_above.wealth, other).max(axis=-1) / 2
        pairs = np.maximum(self._paired.sum(axis=-1), 1)
        slow = (self._more_slow.wealth * self._paired).sum(axis=-1) / pairs
        return np.asarray(np.log(np.maximum(np.minimum(quantile, slow), LEAST)))

    @property
    def log_equivalent(self) -> Array:
        """Evidence that the candidate's quantile is within what is tolerated, shape (series,)."""
        other = self._wealth(1, TILTS).take(self._beyond)
        quantile = np.minimum(self._wealth(0, -TILTS), other).max(axis=-1) / 2
        return np.asarray(np.log(np.minimum(quantile, self._fewer_slow.wealth.mean(axis=-1))))

    def bounds(self, error_probability: float) -> tuple[Range, Range]:
        """Where the candidate's quantile and the other's lie, each wrong at any time with this probability.

        The confidence sequence of 1906.09712, by the bets of this module.
        """
        return self._range(0, error_probability), self._range(1, error_probability)

    def _range(self, arm: int, error_probability: float) -> Range:
        proof = exp(threshold(error_probability, comparisons=2))
        above, at_most = self._wealth(arm, TILTS) >= proof, self._wealth(arm, -TILTS) >= proof
        lower = np.where(above, self._bounds, 0.0).max(axis=-1)
        return Range(lower, np.where(at_most, self._bounds, np.inf).min(axis=-1))

    def _wealth(self, arm: int, tilts: Array) -> Array:
        """Betted on the quantile of all latencies so far being above (tilts > 0) or at most (< 0) each bound."""
        slow = self._slow[arm]
        divisor = self._divisor[:, None]
        paid = payoff(along_first(tilts, slow.shape), slow, slow[:, :1], 1 - self._q, divisor)
        return np.tensordot(WEIGHTS, paid, axes=1)
