"""Judge: compares the candidate with the version that has traffic beside it. Pure, and sequential.

The tests may be looked at after every sample; see `sequential` and `quantiles` for why. So the
same judge guards a bake and speaks at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isinf
from typing import Any

import pandas as pd

from tasks.domain.model import Finding, Result, Verdict
from tasks.judge.evidence import frame_of
from tasks.judge.standings import ERROR_RATE, ErrorRates, Estimate, Latencies, Standing, Terms
from tasks.judge.words import UNITS, number

FEWEST = 20
"""With fewer requests on either side nothing is said."""


class Comparing:
    """A comparison under way: fed with samples as they come, asked at any time."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.until: datetime | None = None
        self._sides: list[ErrorRates | Latencies] = []
        if ERROR_RATE in terms.compare:
            self._sides.append(ErrorRates(terms))
        if set(terms.compare) - {ERROR_RATE}:
            self._sides.append(Latencies(terms))

    def feed(self, frame: pd.DataFrame) -> None:
        """Take in the rows of *frame* that are newer than those taken in before."""
        fresh = frame if self.until is None else frame[frame.index > self.until]
        if fresh.empty:
            return
        self.until = fresh.index[-1].to_pydatetime()
        for side in self._sides:
            side.feed(fresh)

    @property
    def standings(self) -> list[Standing]:
        """How each metric compares by now."""
        return [standing for side in self._sides for standing in side.standings()]

    @property
    def is_same(self) -> bool:
        """Every metric is proven to keep its bounds."""
        return all(standing.log_same >= self.terms.threshold for standing in self.standings)

    def verdict(self) -> Verdict:
        """What is proven by now. A pass means that the candidate is not proven worse, and that it could have been."""
        findings = tuple(_find(self.terms, standing) for standing in self.standings)
        evidence = {
            "terms": self.terms.to_json(),
            "comparisons": [_shown(self.terms, one) for one in self.standings],
        }
        return Verdict(Result.worst(finding.result for finding in findings), findings, evidence)


def compare_again(evidence: Mapping[str, Any]) -> Verdict:
    """The verdict on the samples that the evidence of a comparison holds.

    They stand under ``compared`` where a guard has spoken, else among those that limits were held against.
    """
    samples = evidence.get("compared") or evidence["limits"][0]["frame"]
    again = Comparing(Terms.from_json(evidence["terms"]))
    again.feed(frame_of(samples))
    return again.verdict()


def _find(terms: Terms, standing: Standing) -> Finding:
    """One metric, in words."""
    name, unit = standing.metric, UNITS[standing.metric]
    asked = terms.compare[standing.metric]
    metric = f"{name} against {terms.other}"
    fewest = min(standing.requests)
    value = standing.candidate.value
    if fewest < FEWEST:
        reason = f"{metric} is not known: {fewest} requests, at least {FEWEST} on each side needed"
        return Finding(metric, terms.candidate, Result.INCONCLUSIVE, None, reason)
    said = f"{name} of {terms.candidate} is {_in_words(standing.candidate, unit)}, of {terms.other} {_in_words(standing.other, unit)}"
    allowed = f"{number(asked.tolerance)} % more and {number(asked.floor)}{unit}"
    if standing.log_worse >= terms.threshold:
        reason = f"{said}: proven to be above both {allowed}"
        return Finding(metric, terms.candidate, Result.FAIL, value, reason)
    if asked.detect is not None and not standing.candidate.upper < asked.detect:
        reason = f"{said}: {number(asked.detect)}{unit} or more can't be ruled out yet"
        return Finding(metric, terms.candidate, Result.INCONCLUSIVE, value, reason)
    proof = "proven not to be" if standing.log_same >= terms.threshold else "not proven to be"
    return Finding(metric, terms.candidate, Result.PASS, value, f"{said}: {proof} above both {allowed}")


def _in_words(estimate: Estimate, unit: str) -> str:
    above = "above " if isinf(estimate.upper) and isinf(estimate.value) else ""
    upper = "?" if isinf(estimate.upper) else number(estimate.upper)
    return f"{above}{number(estimate.value)}{unit} ({number(estimate.lower)} to {upper})"


def _shown(terms: Terms, standing: Standing) -> Mapping[str, Any]:
    """One metric as evidence shows it."""
    asked = terms.compare[standing.metric]
    return {
        "metric": standing.metric,
        "slot": str(terms.candidate),
        "against": str(terms.other),
        "unit": UNITS[standing.metric].strip(),
        "tolerance": asked.tolerance,
        "floor": asked.floor,
        "requests": list(standing.requests),
        "candidate": standing.candidate.to_json(),
        "other": standing.other.to_json(),
        "log_worse": standing.log_worse,
        "log_same": standing.log_same,
        "threshold": terms.threshold,
        "dispersion": standing.dispersion,
    }
