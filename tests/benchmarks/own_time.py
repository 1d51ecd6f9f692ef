"""own-time: what a release takes beside the time that it was told to bake, by strategy.

One service of three replicas under load; bakes are those of the demo's service files.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

import yaml

from tasks.domain.plan import plan_of
from tests.benchmarks.bench import Bench, Run
from tests.benchmarks.figure import Figure
from tests.rig.services import STRATEGIES
from tests.rig.stack import ROOT

RATE = 80
"""Requests per second."""
ROUNDS = 2
BAKES = ("bake", "watch", "trickle", "steps")


def measure(bench: Bench) -> list[Figure]:
    """From the journal's first line to its last less the bakes; and from the command to the first line."""
    runs: dict[str, list[Run]] = defaultdict(list)
    with bench.service("own-time") as service, service.load(RATE):
        for number in range(ROUNDS):
            for strategy in STRATEGIES:
                run = service.release(f"{number + 2}-{strategy}", strategy, **demo_bakes(strategy))
                assert str(run.record.outcome) == "Promoted", run.record.ended
                runs[strategy].append(run)
                bench.say(f"own-time: {strategy}: {own(run):.1f} s beside {baked(run):g} s")
    return [figure for strategy in STRATEGIES for figure in figures(strategy, runs[strategy])]


def figures(strategy: str, runs: list[Run]) -> list[Figure]:
    """The two rows of a strategy."""
    bakes, of = baked(runs[0]), f"median of {len(runs)}"
    inside, before = median(map(own, runs)), median(map(opening, runs))
    return [
        Figure("own-time", f"{strategy}, opened to ended, {of}", inside, bakes, "s", "its bakes"),
        Figure("own-time", f"{strategy}, called to opened, {of}", before, bakes, "s", "its bakes"),
    ]


def demo_bakes(strategy: str) -> dict[str, Any]:
    """How long the demo's service file holds each step."""
    content = yaml.safe_load((ROOT / "deployments" / "examples" / f"shop-{strategy}.yaml").read_text())
    return {key: content[key] for key in BAKES if key in content}


def baked(run: Run) -> float:
    """Seconds that the plan bakes."""
    return plan_of(run.record.service, run.record.opening.replicas).duration.total_seconds()


def own(run: Run) -> float:
    """Seconds from opened to ended that were no bake."""
    return (run.ended_at - run.record.opened_at).total_seconds() - baked(run)


def opening(run: Run) -> float:
    """Seconds from the command's call to the journal's first line."""
    return (run.record.opened_at - run.called).total_seconds()
