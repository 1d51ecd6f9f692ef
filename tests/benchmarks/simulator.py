"""simulator: rules of taking back compared on the same simulated releases; for each, false alarms and what they cost.

Good candidates tell how often each rule takes one back without cause. Bad ones tell how many requests
they have answered by the time they are taken back (or the release ends), and how many are missed.
Rules of thumb with fixed limits, and Kayenta's judge, are given limits that keep their false alarms to
the same rate, on these very releases, which is in their favour.

Where Davy's tests are worse: small latency changes that leave few bounds between the two quantiles; errors that
come in bursts of one side, until their size is learnt; few requests a second, where fixed limits that
fit the service well find as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

import numpy as np

from tasks.judge.sequential import Array, threshold
from tests.benchmarks.figure import Figure
from tests.benchmarks.simulator_rules import SETTLED, Rule, Scores, davy, every, failed_checks, kayenta
from tests.benchmarks.simulator_traffic import BURST, TICK, TICKS, Scenario, Traffic, traffic_of

NAME = "simulator"
STATED = 0.05
"""Error probability of a whole release."""
SHIPPED = 0.01
"""The one that a service file has by itself."""
GOOD, BAD = 120, 100
"""Releases of each scenario, so that a share of 5 % is known within 4 percentage points."""
SCENARIOS = (
    Scenario(rate=1, errors=2),
    Scenario(rate=5, errors=2),
    Scenario(rate=5, errors=2, others=19),
    Scenario(rate=50, errors=2),
    Scenario(rate=5, errors=1.5),
    Scenario(rate=5, errors=5),
    Scenario(rate=5, latency=1.3),
    Scenario(rate=5, latency=2),
)
FAMILIES: Mapping[str, Callable[[Traffic], Scores]] = {
    "davy": davy(),
    "shipped": davy(ratio=0.2, floor=0.005),
    "dispersion 1": davy(dispersion=1.0),
    f"dispersion {BURST}": davy(dispersion=BURST),
    "kayenta": kayenta,
    "argo": failed_checks(window=5, failures=4),
    "flagger": failed_checks(window=1, failures=5),
}
DAVY = Rule("davy", "davy", every(TICK / 60), dict.fromkeys(("errors", "latency"), threshold(STATED, 2)))
OURS = (
    DAVY,
    Rule(
        "davy, 20 % and 0.5 % allowed, at 1 %",
        "shipped",
        DAVY.looks,
        dict.fromkeys(DAVY.limits, threshold(SHIPPED, 2)),
    ),
)
TOLD = tuple(
    Rule(f"davy, told {family}", family, DAVY.looks, DAVY.limits)
    for family in ("dispersion 1", f"dispersion {BURST}")
)
ANY = {"errors": 1e-9, "latency": 1e-9}
"""Kayenta's: High, however small the effect."""
AS_USED = (
    Rule("Kayenta each minute from the first", "kayenta", every(1), ANY),
    Rule("Argo, 4th of 5 min over 5 %, 500 ms", "argo", every(5), {"errors": 0.05, "latency": 500.0}),
    Rule("Flagger, 5th minute over 1 %, 500 ms", "flagger", every(1), {"errors": 0.01, "latency": 500.0}),
)
TO_CALIBRATE = (
    Rule("Kayenta hourly", "kayenta", every(60), ANY),
    Rule("Kayenta each minute", "kayenta", every(1, first=SETTLED), ANY),
    Rule("Argo, 4th of 5 min", "argo", every(5), {}),
    Rule("Flagger, 5th minute", "flagger", every(1), {}),
)


def measure() -> list[Figure]:
    """False alarms by rate of requests, then each regression."""
    figures, rules = [], {}
    for rate in (1, 5, 50):
        scenario = Scenario(rate=rate)
        scores = scores_of(traffic_of(scenario, GOOD, seed=rate))
        rules[rate] = [*OURS, *(rule.calibrated(scores[rule.family], STATED) for rule in TO_CALIBRATE)]
        figures += [false_alarms(scenario, rule, scores) for rule in (*rules[rate], *AS_USED)]
    scenario = Scenario(bursts=True)
    scores = scores_of(traffic_of(scenario, GOOD, seed=7))
    figures += [false_alarms(scenario, rule, scores) for rule in (*rules[5], *TOLD)]
    for number, scenario in enumerate(SCENARIOS):
        figures += costs(traffic_of(scenario, BAD, seed=100 + number), rules[int(scenario.rate)])
    return figures


def scores_of(traffic: Traffic) -> dict[str, Scores]:
    """By family of rules."""
    return {name: scores(traffic) for name, scores in FAMILIES.items()}


def false_alarms(scenario: Scenario, rule: Rule, scores: Mapping[str, Scores]) -> Figure:
    """How many good candidates *rule* takes back."""
    share = 100 * float(np.isfinite(rule.taken_back(scores[rule.family])).mean())
    stated = 100 * (SHIPPED if rule.family == "shipped" else STATED)
    return Figure(NAME, f"{scenario}: {rule.name}, taken back", share, stated, "%", "stated")


def costs(traffic: Traffic, rules: list[Rule]) -> list[Figure]:
    """What a bad candidate has answered under each rule, beside what it has under `DAVY`."""
    scores = scores_of(traffic)
    medians, told = {}, {}
    for rule in rules:
        ends = rule.taken_back(scores[rule.family])
        since = ends > traffic.start  # before that it was a false alarm
        medians[rule.name] = float(np.median(answered(traffic, ends)[since]))
        missed = 100 * np.mean([not isfinite(end) for end in ends[since]])
        told[rule.name] = f"{traffic.scenario}: {rule.name}, {missed:.0f} % missed"
    return [
        Figure(NAME, told[name], median, medians[DAVY.name], "requests", "davy's median")
        for name, median in medians.items()
    ]


def answered(traffic: Traffic, ends: Array) -> Array:
    """The candidate's requests from the regression's start to its end, shape (releases,)."""
    ticks = np.arange(TICKS)
    within = (ticks >= traffic.start[:, None]) & (ticks < np.minimum(ends, TICKS)[:, None])
    return np.asarray((traffic.requests[0] * within).sum(axis=1))
