"""Tests of error rates that may be looked at after every sample without spoiling their error rate.

Everything here is a bet against a hypothesis, in the sense of arXiv 2205.14762 and 2011.03567 (both
by Lindon and colleagues): a wealth that starts at 1 and is not expected to grow while the hypothesis
holds. By Ville's inequality it ever reaches 1/a with a probability of at most a, however often one
looks; so its logarithm, the *evidence*, is compared with `threshold` at any moment one likes.

One bet serves all. Let s of n trials be successes whose chance is at most c. With a tilt d > 0,

    exp(s d - n log(1 + c (exp(d) - 1)))

is the likelihood ratio of a Bernoulli chance with odds exp(d) times larger (2205.14762 and 2011.03567
mix such ratios over a conjugate prior; here over a grid of tilts, so that only one side is betted on
and the wealth falls when the truth lies deeper in the hypothesis). With d < 0 it is the bet against a
chance of at least c. Needs numpy only, and no history: state is one number for each series and tilt.
"""

from __future__ import annotations

from math import log

import numpy as np
import numpy.typing as npt

from tasks.domain.errors import InputError

Array = npt.NDArray[np.float64]

TILTS: Array = np.ldexp(0.05, np.arange(8))
"""Log odds ratios that are betted on, from 5 % more to 600 times as much. Doubling them keeps at least
89 % of the best growth: a tilt of x times the true one grows 2x - x*x as fast, to second order."""
WEIGHTS: Array = np.array([1, 2, 4, 8, 8, 4, 2, 1]) / 30
"""Part of the wealth that each tilt gets: most for half as much again and for twice as much, which are
hard enough to find to matter and common enough; what is gross is found at once in any case."""
LATE = 0.5
"""Part of the wealth that is kept for changes that come later than the start."""
CLOCK = 10.0
DECAY = 0.5
"""Of that reserve, (1 + t / CLOCK) ** -DECAY is left after t expected successes: no scale is preferred."""
BLOCK = 8.0
"""Errors, of both sides, that are taken together to see whether they come in bursts."""
KNOWN = 5.0
"""Blocks' worth of belief, to begin with, that they don't."""
TINY = 1e-9
"""Less than any count of requests that is not 0."""
RICHEST, LEAST, STEEPEST = 1e150, 1e-300, 345.0
"""Bounds of each bet's wealth and of an interval's log payoff, far beyond any threshold: numbers stay finite."""


def threshold(error_probability: float, comparisons: int = 1) -> float:
    """The evidence that proves something, so that all of *comparisons* together err as stated at most.

    Ville's inequality for each, Bonferroni's over all of a release: nothing is assumed about how
    they depend on each other.
    """
    return log(comparisons / error_probability)


def part_of(requests: Array, other_requests: Array) -> Array:
    """The first's part of all requests; 0 where there are none."""
    return requests / np.maximum(requests + other_requests, TINY)


def along_first(tilts: Array, shape: tuple[int, ...]) -> Array:
    """The tilts as a first axis before those of the series."""
    return tilts.reshape(-1, *(1 for _ in shape))


def payoff(
    tilts: Array, successes: Array, trials: Array, chance: Array, dispersion: Array | float = 1.0
) -> Array:
    """What bets of 1 pay for one interval, each tilt's along the first axis: the formula at the top.

    Args:
        tilts: See `along_first`.
        successes: Count, shape of the series.
        trials: Count of trials that they are among.
        chance: What the hypothesis says of each trial, 0 to 1.
        dispersion: How many successes may come together; see `CountTest`.
    """
    growth = successes * (tilts / dispersion)
    growth -= trials * (np.log1p(chance * np.expm1(tilts)) / dispersion)
    return np.exp(growth.clip(-STEEPEST, STEEPEST, out=growth), out=growth)


class Bets:
    """Wealth betted on chances that are larger (tilts > 0) or smaller (< 0) than a hypothesis allows.

    Args:
        shape: Of the series.
        tilts: Log odds ratios; the wealth is split over them by `WEIGHTS`.
        late: Part of the wealth held back at first and betted little by little, so that a change
            long after the start is still found; 0 bets all at once, and then only sums matter,
            not how they came. Moving wealth between bets before their outcome is known is itself
            a fair bet, so the total keeps its guarantee.
    """

    def __init__(self, shape: tuple[int, ...], tilts: Array, *, late: float = 0.0) -> None:
        self._tilts, self._weights = along_first(tilts, shape), along_first(WEIGHTS, shape)
        self._parts = np.tile((1 - late) * self._weights, (1, *shape))
        self._late, self._reserve = late, np.full(shape, late)
        self._clock = np.zeros(shape)

    def settle(self, successes: Array, trials: Array, chance: Array, dispersion: Array | float = 1.0) -> None:
        """Pay the bets out for one interval; the arguments are those of `payoff`."""
        paid = payoff(self._tilts, successes, trials, chance, dispersion)
        np.minimum(np.multiply(self._parts, paid, out=paid), RICHEST, out=self._parts)
        if self._late:
            self._bet_more(trials * chance)

    def _bet_more(self, expected: Array) -> None:
        """Split a part of the reserve over the tilts, for what comes after."""
        clock = self._clock + expected
        kept = ((CLOCK + self._clock) / (CLOCK + clock)) ** DECAY
        self._parts += self._reserve * (1 - kept) * self._weights
        self._reserve, self._clock = self._reserve * kept, clock

    @property
    def wealth(self) -> Array:
        """What the bets have made of 1 by now, shape of the series; at least `LEAST`."""
        return np.asarray(np.maximum(self._parts.sum(axis=0) + self._reserve, LEAST))


class Bursts:
    """How many errors come together on one side, learnt from how unevenly they fall on both.

    Intervals are taken together until they hold `BLOCK` errors. By how much the candidate's errors
    exceed its part is compared between a block and the one before, and held against what
    errors that come one by one do; so rates may differ and drift. An error picked at random
    is one of `size` then. Bursts that last longer than a block are seen in part only.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._open, self._before = np.zeros((3, *shape)), np.zeros((3, *shape))
        self._uneven, self._blocks = np.full(shape, KNOWN), np.full(shape, KNOWN)

    def learn(self, errors: Array, other_errors: Array, part: Array) -> None:
        """Take in one interval; *part* of the errors would be the candidate's."""
        surplus = errors * (1 - part) - other_errors * part
        self._open += (surplus, errors * (1 - part) ** 2 + other_errors * part**2, errors + other_errors)
        full = self._open[2] >= BLOCK
        (now, by_chance, _), (before, chance_before, counted) = self._open, self._before
        uneven = (now - before) ** 2 / np.maximum(by_chance + chance_before, TINY)
        comparable = full & (counted > 0)
        self._uneven += np.where(comparable, uneven, 0.0)
        self._blocks += comparable
        self._before = np.where(full, self._open, self._before)
        self._open = np.where(full, 0.0, self._open)

    @property
    def size(self) -> Array:
        """At least 1, shape of the series."""
        return np.asarray(np.maximum(1.0, self._uneven / self._blocks))


class CountTest:
    """Whether a candidate's error rate is worse than another's, for many series at once.

    The tolerated rate is max((1 + ratio) * other's rate, floor). Two bets each way:

    *Ratio.* Of the m errors of an interval, the candidate's are betted to be m trials of chance
    c = n_c (1 + ratio) / (n_c (1 + ratio) + n_o), n being the requests of each: as in 2011.03567 on
    Poisson processes whose rates vary in time, only which side an error fell on counts, so the
    rates may drift, together, as they like, and shares may change from interval to interval.
    That is exact for Poisson counts, and safe for binomial ones: the bet pays a**e_c * b**e_o with
    c (a - 1) = (1 - c) (1 - b); as 1 + x <= exp(x), its expectation is at most
    exp(n_c p_c (a - 1) - n_o p_o (1 - b)) = exp((a - 1) n_c (p_c - (1 + ratio) p_o)) <= 1. Only
    the chances before each request have to keep to the hypothesis; requests need not be alike.

    *Floor.* Of n_c requests, errors are trials of chance `floor`.

    That the candidate is worse contradicts either, so the weaker evidence counts; that it is
    within tolerance is shown by both, so they are averaged. Without a floor (0) only the ratio counts.

    What is assumed: one of the two clauses holds in every interval when the candidate is not worse
    (it does for a candidate that is like the other), and errors do not come in bursts. When at most k errors
    share one cause, evidence divided by k is exact for the ratio, as a**(j / k) - 1 <= (j / k) (a - 1) for
    j <= k. Without a `dispersion` the evidence of each interval is divided by what `Bursts` has learnt
    before it. That keeps the guarantee where there are none (the mean of x**(1 / k) is at most 1 where that
    of x is), and most of it where there are: what comes before they are learnt is judged too boldly.

    Args:
        ratio: By how much the candidate's rate may exceed the other's, relative (0.5: half as much again);
            shape (series,).
        floor: A rate, 0 to 1, that is always tolerated.
        dispersion: The most errors that come together by one cause, 1 or more; None learns it.

    Raises:
        InputError: A value is out of range; not retried.
    """

    def __init__(self, ratio: Array, floor: Array, dispersion: float | None = None) -> None:
        self._ratio, self._floor = (np.asarray(of, dtype=np.float64) for of in (ratio, floor))
        self._dispersion, self._bursts = dispersion, Bursts(self._ratio.shape)
        for name, values, good, expected in (
            ("ratio", self._ratio, self._ratio >= 0, "at least 0"),
            ("floor", self._floor, (self._floor >= 0) & (self._floor < 1), "0 to less than 1"),
            ("dispersion", np.asarray(dispersion), dispersion is None or dispersion >= 1, "at least 1"),
        ):
            if not np.all(good):
                raise InputError(name, values.tolist(), expected)
        shape = self._ratio.shape
        self._ratio_worse, self._floor_worse = (Bets(shape, TILTS, late=LATE) for _ in range(2))
        self._ratio_within, self._floor_within = (Bets(shape, -TILTS) for _ in range(2))

    def update(
        self, candidate_requests: Array, candidate_errors: Array, other_requests: Array, other_errors: Array
    ) -> None:
        """Take in what happened since the last update.

        Args:
            candidate_requests: Increments of one interval, shape (series,), or of several, shape
                (rows, series) in order of time. A row where any of the four is NaN counts as not
                seen. With a given dispersion `log_equivalent` depends on sums alone while n_c : n_o
                stays; `log_worse`, which looks for changes, and what is learnt also on the order.
        """
        counts = [candidate_requests, candidate_errors, other_requests, other_errors]
        stacked = np.stack(np.broadcast_arrays(*(np.atleast_2d(values) for values in counts)), axis=1)
        unseen = np.isnan(stacked).any(axis=1, keepdims=True)
        for row in np.where(unseen, 0.0, stacked):
            self._take(*row)

    def _take(self, requests: Array, errors: Array, other_requests: Array, other_errors: Array) -> None:
        errors, other_errors = np.minimum(errors, requests), np.minimum(other_errors, other_requests)
        chance = part_of(requests * (1 + self._ratio), other_requests)
        dispersion = self.dispersion
        for bets in (self._ratio_worse, self._ratio_within):
            bets.settle(errors, errors + other_errors, chance, dispersion)
        for bets in (self._floor_worse, self._floor_within):
            bets.settle(errors, requests, self._floor, dispersion)
        self._bursts.learn(errors, other_errors, chance)

    @property
    def dispersion(self) -> Array:
        """What the next interval's evidence is divided by, shape (series,)."""
        return self._bursts.size if self._dispersion is None else np.full_like(self._ratio, self._dispersion)

    @property
    def log_worse(self) -> Array:
        """Evidence that the candidate's rate is above what is tolerated, shape (series,)."""
        ratio, floor = self._ratio_worse.wealth, self._floor_worse.wealth
        return np.log(np.where(self._floor > 0, np.minimum(ratio, floor), ratio))

    @property
    def log_equivalent(self) -> Array:
        """Evidence that the candidate's rate is below what is tolerated, shape (series,)."""
        ratio, floor = self._ratio_within.wealth, self._floor_within.wealth
        return np.log(np.where(self._floor > 0, (ratio + floor) / 2, ratio))
