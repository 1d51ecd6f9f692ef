"""Simulated releases: what a candidate and a baseline of the same share answer, half a minute at a time.

Both get what the hour brings alike: requests and error rates with a daily shape, moments in which a
dependency fails more often (overdispersion), latencies that drift, with a heavy tail. A regression
begins with the release in half of them, and at any time in the first two thirds in the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from tasks.judge.sequential import Array
from tasks.routers.envoy_config import _BUCKETS, _SLOW_BUCKETS

TICK = 30
"""Seconds."""
MINUTES = 180
TICKS = MINUTES * 60 // TICK
ERROR_RATE = 0.005
HICCUPS = 4.0
"""Shape of the gamma distribution of a minute's error rate: its standard deviation is half its mean."""
MEDIAN, SPREAD = 50.0, 0.6
"""Of the log-normal latencies, ms."""
TAIL, SLOWEST_FROM, HEAVINESS = 0.03, 200.0, 1.5
"""Part of the requests whose latency is Pareto distributed, from so many ms on, without a variance."""
WANDERING = 0.05
"""Standard deviation of a minute's latencies as a whole, relative."""
BURST = 5
"""Most errors of one cause, where errors come in bursts."""
BOUNDS = np.array([*_BUCKETS, *_SLOW_BUCKETS, np.inf], dtype=np.float64)
"""Those that Davy gives to Envoy, ms."""


@dataclass(frozen=True)
class Scenario:
    """What the candidate does worse, and how many requests there are.

    Attributes:
        rate: The candidate's requests a second.
        others: Requests of the version beside it for each one of the candidate: 1 for a baseline.
        errors: By what the candidate's error rate is multiplied; likewise `latency`.
        bursts: Errors come in bursts of up to `BURST`, each on one side.
    """

    rate: float = 5.0
    others: float = 1.0
    errors: float = 1.0
    latency: float = 1.0
    bursts: bool = False

    def __str__(self) -> str:
        worse = [
            f"{what} x{by:g}" for what, by in (("errors", self.errors), ("latency", self.latency)) if by > 1
        ]
        beside = "" if self.others == 1 else f" beside {self.others:g} times as many"
        return (
            f"{' and '.join(worse) or 'good'}{', in bursts' if self.bursts else ''}, {self.rate:g}/s{beside}"
        )

    @property
    def good(self) -> bool:
        """Whether there is nothing to find."""
        return self.errors == self.latency == 1

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is judged: what is worse, or everything."""
        worse = {"errors": self.errors, "latency": self.latency}
        return tuple(name for name, by in worse.items() if by > 1 or self.good)


@dataclass(frozen=True, eq=False)
class Traffic:
    """Increments by tick.

    Attributes:
        start: The tick that the regression begins with, shape (releases,).
        requests: Shape (sides, releases, ticks), the candidate first.
        errors: Likewise.
        latencies: At most at each bound, shape (sides, releases, ticks, buckets).
    """

    scenario: Scenario
    start: Array
    requests: Array
    errors: Array
    latencies: Array


def traffic_of(scenario: Scenario, releases: int, seed: int) -> Traffic:
    """Simulate so many releases."""
    random = np.random.default_rng(seed)
    start = random.integers(0, 2 * TICKS // 3, releases) * random.integers(0, 2, releases)
    begun = np.arange(TICKS) >= start[:, None]
    hour = 2 * np.pi * (np.arange(TICKS) * TICK / 86_400 + random.random((releases, 1)))
    mean = scenario.rate * TICK * (1 + 0.4 * np.sin(hour))
    requests = random.poisson(np.stack((mean, scenario.others * mean)))

    hiccups = _by_minute(random.gamma(HICCUPS, 1 / HICCUPS, (releases, MINUTES)))
    rates = np.tile(ERROR_RATE * (1 + 0.3 * np.sin(hour + 1)) * hiccups, (2, 1, 1))
    rates[0] *= np.where(begun, scenario.errors, 1.0)
    errors = _errors(random, requests, np.minimum(rates, 1.0), bursts=scenario.bursts)

    wandering = _by_minute(random.lognormal(0, WANDERING, (releases, MINUTES)))
    scales = np.tile((1 + 0.1 * np.sin(hour + 2)) * wandering, (2, 1, 1))
    scales[0] *= np.where(begun, scenario.latency, 1.0)
    latencies = np.cumsum(random.multinomial(requests, _chances(scales)), axis=-1)
    return Traffic(scenario, start, *(counts.astype(np.float64) for counts in (requests, errors, latencies)))


def _by_minute(values: Array) -> Array:
    return np.repeat(values, 60 // TICK, axis=-1)


def _errors(random: np.random.Generator, requests: Array, rates: Array, *, bursts: bool) -> Array:
    if not bursts:
        return random.binomial(requests, rates)
    causes = random.binomial(requests, rates / ((1 + BURST) / 2))
    each = random.multinomial(causes, np.full(BURST, 1 / BURST))
    return np.minimum(each @ np.arange(1, BURST + 1), requests)


def _chances(scale: Array) -> Array:
    """Of a latency in each bucket, shape of *scale* and the buckets."""
    bounds = BOUNDS[:-1] / scale[..., None]
    tail = 1 - np.minimum(SLOWEST_FROM / bounds, 1.0) ** HEAVINESS
    finite = (1 - TAIL) * ndtr(np.log(bounds / MEDIAN) / SPREAD) + TAIL * tail
    return np.diff(finite, prepend=0.0, append=1.0, axis=-1)
