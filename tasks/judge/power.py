"""What the sequential tests are able to show with the traffic there will be, before there is any.

By simulation with the tests themselves, on a fixed seed, so that the same question always gets the
same answer. Traffic is taken to be even, and the regression to be there from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, exp, log

import numpy as np

from tasks.judge.quantiles import QuantileTest
from tasks.judge.sequential import Array, CountTest

PATHS = 250
"""Simulated releases: a power of 0.8 is known within 0.05."""
SEED = 20_220_514
LOOKS = (0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)
"""Parts of a given number of requests after which the evidence is looked at; more looks find a little more."""
STEPS = 11
"""Halvings of the range searched, on a logarithmic scale: within 0.5 % from 1e-4 to 1."""
FEWEST, GROWTH, MOST = 10.0, 1.25, 1e8
"""Candidate requests at the first of growing looks, from each to the next, and at the last."""
LEARNT = 1.08
"""The dispersion that `CountTest` takes errors that come one by one to have, on average; of slow
requests, which are many more, it is near 1."""
SLOWEST = 100.0
"""Times that a candidate is thought to be slower at most."""

Requests = tuple[float, float]
"""Of the candidate and of the other."""
Draw = Callable[[np.random.Generator, Requests], Sequence[Array]]
"""Draws one interval's increments for all paths."""


@dataclass(frozen=True)
class Proof:
    """What has to be proven, and how surely.

    Attributes:
        ratio: By how much the candidate's value may exceed the other's, relative.
        floor: Up to this value, in the metric's unit, nothing is worse.
        threshold: Of the evidence; see `sequential.threshold`.
        power: With which probability it is to be proven (Cohen, 1988).
    """

    ratio: float
    floor: float
    threshold: float
    power: float = 0.8

    def tolerated(self, usual: float) -> float:
        """The largest value of a candidate that is not worse than *usual*."""
        return max((1 + self.ratio) * usual, self.floor)


def smallest_detectable_rate(
    other_rate: float,
    candidate_requests: int,
    other_requests: int,
    *,
    proof: Proof,
) -> float | None:
    """The smallest error rate of a candidate that `CountTest` proves to be worse within so many requests.

    Args:
        other_rate: 0 to 1, as is the answer.

    Returns:
        None where even a candidate that always errs is not.
    """
    looks = _within(candidate_requests, other_requests)

    def found(rate: float) -> bool:
        shares = _proven(_count_test(proof), _rates(rate, other_rate), looks, proof)
        return any(share >= proof.power for share in shares)

    least = max(proof.tolerated(other_rate), 0.01 / max(candidate_requests, 1))
    return _smallest(found, least, 1.0)


def requests_needed(
    other_rate: float,
    candidate_rate: float,
    share_ratio: float,
    *,
    proof: Proof,
) -> int | None:
    """How many requests a candidate must answer until `CountTest` proves it to be worse.

    Args:
        other_rate: 0 to 1, as is `candidate_rate`.
        share_ratio: Requests of the other for each one of the candidate.

    Returns:
        None for a rate that is tolerated, or where `MOST` requests do not suffice.
    """
    if candidate_rate <= proof.tolerated(other_rate):
        return None
    looks = _growing(share_ratio)
    shares = _proven(_count_test(proof), _rates(candidate_rate, other_rate), looks, proof)
    return _reached(shares, looks, proof.power)


def smallest_detectable_quantile(
    bounds: Array,
    counts: Array,
    q: float,
    candidate_requests: int,
    other_requests: int,
    *,
    proof: Proof,
) -> float | None:
    """The smallest quantile of a candidate, in ms, that `QuantileTest` proves to be worse within so many requests.

    The candidate's latencies are the other's, all made longer by one factor.

    Args:
        bounds: Upper bounds of the buckets in ms, growing, the last one infinite.
        counts: How many of the other's latencies are at most at each bound.

    Returns:
        None where none can be proven, or the other's own quantile is not known.
    """
    usual = _quantile(bounds, counts, q)
    if usual is None:
        return None
    looks = _within(candidate_requests, other_requests)

    def found(factor: float) -> bool:
        draw = _latencies(bounds, counts, factor)
        shares = _proven(_quantile_test(q, proof, bounds), draw, looks, proof)
        return any(share >= proof.power for share in shares)

    factor = _smallest(found, 1.0, SLOWEST)
    return None if factor is None else factor * usual


def quantile_requests_needed(
    bounds: Array,
    counts: Array,
    q: float,
    candidate_quantile: float,
    share_ratio: float,
    *,
    proof: Proof,
) -> int | None:
    """How many requests a candidate must answer until `QuantileTest` proves it to be worse.

    Args:
        candidate_quantile: In ms; the rest is as in `smallest_detectable_quantile` and `requests_needed`.
    """
    usual = _quantile(bounds, counts, q)
    if usual is None or candidate_quantile <= proof.tolerated(usual):
        return None
    looks, draw = _growing(share_ratio), _latencies(bounds, counts, candidate_quantile / usual)
    return _reached(_proven(_quantile_test(q, proof, bounds), draw, looks, proof), looks, proof.power)


def _count_test(proof: Proof) -> CountTest:
    return CountTest(np.full(PATHS, proof.ratio), np.full(PATHS, proof.floor), LEARNT)


def _quantile_test(q: float, proof: Proof, bounds: Array) -> QuantileTest:
    quantile, ratio, floor = (np.full(PATHS, of) for of in (q, proof.ratio, proof.floor))
    return QuantileTest(quantile, ratio, floor, bounds, dispersion=1.0)


def _within(candidate_requests: float, other_requests: float) -> list[Requests]:
    """Requests before each of `LOOKS`."""
    return [(candidate_requests * part, other_requests * part) for part in np.diff(LOOKS, prepend=0.0)]


def _growing(share_ratio: float) -> list[Requests]:
    """Requests before each look; in all they grow by the same factor each time."""
    totals = FEWEST * GROWTH ** np.arange(ceil(log(MOST / FEWEST, GROWTH)) + 1)
    return [(requests, requests * share_ratio) for requests in np.diff(totals, prepend=0.0)]


def _rates(candidate_rate: float, other_rate: float) -> Draw:
    """Requests and errors of both."""

    def draw(random: np.random.Generator, requests: Requests) -> list[Array]:
        counts = [np.full(PATHS, round(count), dtype=np.float64) for count in requests]
        errors = [
            random.binomial(round(count), rate, PATHS).astype(np.float64)
            for count, rate in zip(requests, (candidate_rate, other_rate), strict=True)
        ]
        return [counts[0], errors[0], counts[1], errors[1]]

    return draw


def _latencies(bounds: Array, counts: Array, factor: float) -> Draw:
    """Bucket counts of both; within its bucket a latency is anywhere alike."""
    other = counts / counts[-1]
    known = np.append(0.0, bounds[:-1])
    candidate = np.append(np.interp(bounds[:-1] / factor, known, np.append(0.0, other[:-1])), 1.0)

    def draw(random: np.random.Generator, requests: Requests) -> list[Array]:
        return [
            np.cumsum(random.multinomial(round(count), np.diff(part, prepend=0.0), PATHS), axis=-1).astype(
                np.float64
            )
            for count, part in zip(requests, (candidate, other), strict=True)
        ]

    return draw


def _quantile(bounds: Array, counts: Array, q: float) -> float | None:
    """The other's quantile in ms, spread evenly in its bucket; None where it is above the last finite bound."""
    if not counts[-1] or q * counts[-1] > counts[-2]:
        return None
    at = int(np.searchsorted(counts, q * counts[-1]))
    low, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    return float(low + (bounds[at] - low) * (q * counts[-1] - below) / (counts[at] - below))


def _proven(
    test: CountTest | QuantileTest, draw: Draw, looks: Sequence[Requests], proof: Proof
) -> Iterator[float]:
    """After each look, the part of all paths on which the candidate has been proven to be worse."""
    random, proven = np.random.default_rng(SEED), np.zeros(PATHS, dtype=bool)
    for requests in looks:
        test.update(*draw(random, requests))
        proven |= test.log_worse >= proof.threshold
        yield float(proven.mean())


def _smallest(found: Callable[[float], bool], low: float, high: float) -> float | None:
    """The smallest value from *low* to *high* that is found, by halving; None where *high* is not."""
    if low >= high or not found(high):
        return None
    for _ in range(STEPS):
        middle = exp((log(low) + log(high)) / 2)
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _reached(shares: Iterator[float], looks: Sequence[Requests], power: float) -> int | None:
    """The candidate's requests when *power* is reached, between looks on a logarithmic scale."""
    requests = 0.0
    before = 0.0
    for share, (added, _) in zip(shares, looks, strict=False):  # the rest is not asked for
        requests += added
        if share >= power:
            part = (power - before) / (share - before)
            return ceil(requests * exp(log(GROWTH) * (part - 1)))
        before = share
    return None
