"""detection: from the first bad answer of a version that errs always to all traffic on stable.

Read from the proxy's access log. The floor is the guard's interval; the aim is a second more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from deployments.observations import Observation, observe
from tasks.domain.model import Window
from tasks.record import Record
from tests.benchmarks.bench import Bench, Run, Service
from tests.benchmarks.figure import Figure
from tests.rig.stack import await_that

RATE = 80
"""Requests per second."""
RUNS = 3
INTERVALS = (0.5, 1.0)
"""Of the guard, in seconds."""
AIM = 1.0
"""Seconds that may come on top."""
SHARE = 20
"""Percent that the candidate gets."""
FLUSHED = timedelta(seconds=1)
"""Envoy writes its access log twice a second."""


@dataclass(frozen=True)
class Detection:
    """One release that was taken back: seconds since the first bad answer.

    Attributes:
        check: When the guard's failed check was in the journal.
        asked: When all traffic was asked back.
        live: When that was live.
        last: When the last request sent to the version was answered.
    """

    check: float
    asked: float
    live: float
    last: float


def measure(bench: Bench) -> list[Figure]:
    """Several releases by canary for each interval of the guard."""
    figures = []
    own = {"replicas": 2, "baseline": False, "abort_scale_down_delay": "0s"}
    with bench.service("detection", **own) as service, service.load(RATE):
        for interval in INTERVALS:
            seen = [detect(bench, service, f"{interval}-{number}-down", interval) for number in range(RUNS)]
            limit, against = interval + AIM, f"{interval:g} s guard + {AIM:g} s"
            spans = [one.last for one in seen]
            for what, value in (("median", median(spans)), ("worst", max(spans))):
                figures.append(Figure("detection", f"{what} of {RUNS}", value, limit, "s", against))
    return figures


def detect(bench: Bench, service: Service, version: str, interval: float) -> Detection:
    """Release *version*, which errs on every request."""
    limits = {"error_rate": {"max": 1, "min_requests": 5}, "restarts": {"max": 0}}
    run = service.release(
        version,
        "canary",
        steps=[{"share": SHARE, "bake": "20s"}],
        analysis={"interval": f"{interval * 1000:g}ms", "limits": limits},
    )
    assert str(run.record.outcome) == "RolledBack", run.record.ended
    detection = read(run.record, await_that(lambda: seen_by_users(service, run), what="access log"))
    bench.say(f"detection: {version}: {detection}")
    return detection


def seen_by_users(service: Service, run: Run) -> Observation | None:
    """What the access log tells of the release, once it is all there."""
    end = run.ended_at + FLUSHED
    later = observe(service.log, service.name, Window(end, end + FLUSHED), ())
    return observe(service.log, service.name, Window(run.called, end), ()) if later.requests else None


def read(record: Record, seen: Observation) -> Detection:
    """Count from the first bad answer."""
    version = record.opening.version
    first, last = seen.first_error(version), seen.last_answer(version)
    assert first, f"{version} answered nothing"
    assert last, f"{version} answered nothing"
    lines = [line for kind in ("check", "asked", "live") if (line := record.last(kind))]
    check, asked, live, last_answer = [
        (at - first).total_seconds() for at in (*(line.at for line in lines), last)
    ]
    return Detection(check, asked, live, last_answer)
