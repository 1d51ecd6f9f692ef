"""lost: requests that users lose to a release of a good version, by strategy, on a busy machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from deployments.observations import Experience, experience
from tasks.domain.model import Window
from tests.benchmarks.bench import Bench, Run, Service
from tests.benchmarks.figure import Figure
from tests.rig.services import STRATEGIES

STEPS = (100, 140, 200, 280, 400, 560, 800, 1100, 1500)
"""Requests per second that are tried one after the other."""
STEP = 4.0
"""Seconds of each."""
SLOW = timedelta(milliseconds=200)
"""A load whose 99th percentile takes longer is more than the machine holds."""
PART = 0.7
"""Of the highest load that holds, what the releases are under."""
AFTER = timedelta(seconds=1)


def measure(bench: Bench) -> list[Figure]:
    """One good release per strategy; what fails at the users from its call until nothing of it is left."""
    with bench.service("lost") as service:
        highest = highest_load(bench, service)
        rate = round(highest * PART)
        with service.load(rate):
            runs = {name: service.release(f"2-{name}", name) for name in STRATEGIES}
        return [figure(service, name, rate, run) for name, run in runs.items()]


def highest_load(bench: Bench, service: Service) -> int:
    """The highest rate of `STEPS` that holds; a rate that does not is tried once more."""
    held = 0
    for rate in STEPS:
        if not (holds(bench, service, rate) or holds(bench, service, rate)):
            break
        held = rate
    return held or STEPS[0]


def holds(bench: Bench, service: Service, rate: int) -> bool:
    """Whether nothing fails and 99 % of the answers are quick at this rate, without any release."""
    began = datetime.now(UTC)
    service.load(rate, STEP).run()
    seen = experience(service.record, Window(began, datetime.now(UTC)))
    bench.say(f"lost: {rate}/s: p99 {seen.p99}, {len(seen.failures)} failed")
    return not seen.failures and seen.p99 is not None and seen.p99 <= SLOW
