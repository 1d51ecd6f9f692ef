"""lost: requests that users lose to a release of a good version, by strategy, on a busy machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from deployments.observations import Experience, experience
from tasks.domain.model import Window
from tests.benchmarks.bench import Bench, Service
from tests.benchmarks.figure import Figure
from tests.rig.services import STRATEGIES

STEPS = (100, 140, 200, 280, 400, 560, 800, 1100, 1500, 2000, 2600)
"""Requests per second that are tried one after the other."""
STEP = 3.0
"""Seconds of each."""
SLOW = timedelta(milliseconds=200)
"""A load whose 99th percentile takes longer is more than the machine holds."""
PART = 0.7
"""Of the highest load that holds, what the releases are under."""


def measure(bench: Bench) -> list[Figure]:
    """One good release per strategy; what fails at the users from its call until nothing of it is left."""
    with bench.service("lost") as service:
        rate = round(highest_load(bench, service) * PART)
        with service.load(rate):
            windows = {name: release_under_load(bench, service, name) for name in STRATEGIES}
        seen = {name: experience(service.record, window) for name, window in windows.items()}
    return [figure(name, rate, one) for name, one in seen.items()]


def release_under_load(bench: Bench, service: Service, strategy: str) -> Window:
    """From the command's call until nothing of the old version was left."""
    run = service.release(f"2-{strategy}", strategy)
    assert str(run.record.outcome) == "Promoted", run.record.ended
    window = Window(run.called, datetime.now(UTC))
    bench.say(f"lost: {strategy} took {(window.end - window.start).total_seconds():.0f} s")
    return window


def figure(strategy: str, rate: int, seen: Experience) -> Figure:
    """The row of a strategy."""
    what = f"{strategy} at {rate}/s, of {seen.requests}"
    return Figure("lost", what, len(seen.failures), 0, "requests", "none")


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
    load = service.load(rate, STEP)
    load.start()
    load.wait()
    seen = experience(service.record, Window(began, datetime.now(UTC)))
    bench.say(f"lost: {rate}/s: p99 {seen.p99}, {len(seen.failures)} failed")
    return not seen.failures and seen.p99 is not None and seen.p99 <= SLOW
