"""How a candidate and the version beside it compare by now, metric by metric; fed as samples come.

Both have their requests in the same moments, so that what happens to all versions alike is not
held against one. What is remembered does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from tasks.domain.analysis import Comparison
from tasks.domain.model import Slot
from tasks.domain.pairs import Values
from tasks.domain.plan import Plan
from tasks.domain.spec import ServiceFile
from tasks.judge.evidence import columns_of
from tasks.judge.limits import quantile
from tasks.judge.quantiles import QuantileTest
from tasks.judge.sequential import CountTest, threshold

CONFIDENCE = 0.95
"""Of the intervals that are shown."""
NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
ERROR_RATE = "error_rate"
BUCKET = "le:"


def proof_of(service: ServiceFile, plan: Plan) -> float:
    """The evidence that proves something, so that a whole release errs as its service file states.

    Each metric is compared anew at each share, and while testers come before all users.
    """
    shares = max(plan.compared + bool(service.matches), 1)
    return threshold(service.analysis.error_probability / 100, shares * len(service.analysis.compare))


@dataclass(frozen=True)
class Terms:
    """What is compared with what.

    Attributes:
        mirrored: The candidate's numbers are of copies that it answered in place of users' requests.
        threshold: Natural logarithm of the e-value that proves something; see `proof_of`.
    """

    compare: Mapping[str, Comparison]
    candidate: Slot
    other: Slot
    threshold: float
    mirrored: bool = False

    def to_json(self) -> dict[str, Any]:
        """As evidence holds them."""
        compare = {name: comparison.model_dump(mode="json") for name, comparison in self.compare.items()}
        return vars(self) | {"compare": compare, "candidate": str(self.candidate), "other": str(self.other)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Terms:
        """The terms that `to_json` wrote."""
        compare = {name: Comparison.model_validate(one) for name, one in data["compare"].items()}
        slots = {"candidate": Slot(data["candidate"]), "other": Slot(data["other"])}
        return cls(**{**data, "compare": compare, **slots})


@dataclass(frozen=True)
class Estimate:
    """A value with its interval at `CONFIDENCE`, in the metric's unit; NaN where it is not known."""

    value: float = nan
    lower: float = nan
    upper: float = nan

    def to_json(self) -> dict[str, float | None]:
        """As evidence holds it."""
        return {name: value if isfinite(value) else None for name, value in vars(self).items()}


@dataclass(frozen=True)
class Standing:
    """How one metric compares by now.

    Attributes:
        requests: Of the candidate and of the other.
        log_worse: Natural logarithm of the e-value that the candidate is worse than allowed.
        log_same: Likewise, that it is not.
        dispersion: How many errors or slow requests are taken to come together.
    """

    metric: str
    candidate: Estimate
    other: Estimate
    requests: tuple[int, int]
    log_worse: float
    log_same: float
    dispersion: float


class ErrorRates:
    """Errors among the requests that both sides got in the same moments."""

    def __init__(self, terms: Terms) -> None:
        compared = terms.compare[ERROR_RATE]
        self._terms = terms
        ratio, floor = np.array([compared.tolerance / 100]), np.array([compared.floor / 100])
        self._test = CountTest(ratio, floor, compared.dispersion)
        self._totals = np.zeros(4)
        self._pending = np.zeros(4)

    def feed(self, frame: pd.DataFrame) -> None:
        """Add up intervals until both sides have requests, then split their errors by those requests."""
        own = ("mirrored", "mirrored_errors") if self._terms.mirrored else ("requests", "errors")
        wanted = [(str(self._terms.candidate), name) for name in own]
        wanted += [(str(self._terms.other), name) for name in ("requests", "errors")]
        rows = frame.reindex(columns=pd.MultiIndex.from_tuples(wanted)).fillna(0.0).to_numpy()
        shared = []
        for row in rows:
            self._pending = self._pending + row
            if self._pending[0] and self._pending[2]:
                shared.append(self._pending)
                self._pending = np.zeros(4)
        if shared:
            intervals = np.array(shared)
            self._totals += intervals.sum(axis=0)
            self._test.update(*(intervals[:, [column]] for column in range(4)))

    def standings(self) -> Iterator[Standing]:
        """The error rate, in percent."""
        requests, errors, others, other_errors = self._totals.tolist()
        yield Standing(
            ERROR_RATE,
            _rate(errors, requests),
            _rate(other_errors, others),
            (int(requests), int(others)),
            float(self._test.log_worse[0]),
            float(self._test.log_equivalent[0]),
            float(self._test.dispersion[0]),
        )


class Latencies:
    """Quantiles of how long both sides took, from the buckets that both have."""

    def __init__(self, terms: Terms) -> None:
        self._slots = (str(terms.candidate), str(terms.other))
        self._compared = {name: one for name, one in terms.compare.items() if name != ERROR_RATE}
        self._quantiles = [int(name.removeprefix("latency_p")) / 100 for name in self._compared]
        self._bounds: list[str] = []
        self._counts = self._pending = np.zeros((2, 0))
        self._test: QuantileTest | None = None

    def feed(self, frame: pd.DataFrame) -> None:
        """Take in what was counted in the buckets; other bounds than before begin anew."""
        bounds = self._shared_bounds(frame)
        if len(bounds) < 2:  # noqa: PLR2004 - one bound, and infinity
            return
        if bounds != self._bounds:
            self._begin(bounds)
        sides = [frame[slot][bounds].fillna(0.0).to_numpy() for slot in self._slots]
        for counts in np.stack(sides, axis=1):
            self._take(counts)

    def standings(self) -> Iterator[Standing]:
        """The quantiles, in milliseconds."""
        requests = [int(counts[-1]) if len(counts) else 0 for counts in self._counts]
        for index, (name, q) in enumerate(zip(self._compared, self._quantiles, strict=True)):
            test = self._test
            proof = (test.log_worse, test.log_equivalent, test.dispersion) if test else None
            told = [float(values[index]) for values in proof] if proof else [0.0, 0.0, 1.0]
            candidate, other = (self._estimate(counts, q) for counts in self._counts)
            yield Standing(name, candidate, other, (requests[0], requests[1]), *told)

    def _take(self, counts: Values) -> None:
        """One interval: as with errors, intervals are added up until both sides have requests."""
        self._pending = self._pending + counts
        if self._test and self._pending[:, -1].all():
            rows = (len(self._quantiles), 1)
            self._test.update(*(np.tile(side, rows) for side in self._pending))
            self._counts, self._pending = self._counts + self._pending, np.zeros_like(self._pending)

    def _begin(self, bounds: list[str]) -> None:
        self._bounds = bounds
        self._counts = self._pending = np.zeros((2, len(bounds)))
        self._test = QuantileTest(
            np.array(self._quantiles),
            np.array([one.tolerance / 100 for one in self._compared.values()]),
            np.array([one.floor for one in self._compared.values()]),
            _milliseconds(bounds),
            max((one.dispersion for one in self._compared.values() if one.dispersion), default=None),
        )

    def _shared_bounds(self, frame: pd.DataFrame) -> list[str]:
        columns = columns_of(frame)
        sides = [
            {name for own, name in columns if own == slot and name.startswith(BUCKET)} for slot in self._slots
        ]
        return sorted(sides[0] & sides[1], key=_bound)

    def _estimate(self, counts: Values, q: float) -> Estimate:
        """Bounds by order statistics (Conover, Practical Nonparametric Statistics, 3.2)."""
        if not len(counts) or not counts[-1]:
            return Estimate()
        spread = NORMAL * sqrt(q * (1 - q) / counts[-1])
        values = [
            quantile(_milliseconds(self._bounds), counts, min(max(at, 0.0), 1.0))
            for at in (q, q - spread, q + spread)
        ]
        return Estimate(*(inf if above else float(value) for value, above in values))


def _rate(errors: float, requests: float) -> Estimate:
    """Percent, with the score interval (Wilson, JASA 22, 1927)."""
    if not requests:
        return Estimate()
    rate, square = errors / requests, NORMAL**2 / requests
    middle = (rate + square / 2) / (1 + square)
    half = NORMAL * sqrt(rate * (1 - rate) / requests + square / (4 * requests)) / (1 + square)
    lower = max(middle - half, 0.0) if errors else 0.0
    return Estimate(100 * rate, 100 * lower, 100 * min(middle + half, 1.0))


def _bound(bucket: str) -> float:
    return float(bucket.removeprefix(BUCKET))


def _milliseconds(bounds: list[str]) -> Values:
    return np.array([_bound(bucket) for bucket in bounds])
