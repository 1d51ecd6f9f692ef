"""Measure, and print each figure with its ratio to the limit that it is held against.

``python -m tests.benchmarks [--json] [judging] [guard-step] [simulator] [history] [webhooks] [memory] [split-live] [own-time] [detection] [lost]
[start] [kubernetes-live] [kubernetes-detection]``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from tests.benchmarks import (
    detection,
    guard_step,
    history,
    judging,
    lost,
    memory,
    on_kubernetes,
    own_time,
    simulator,
    split_live,
    start,
    webhooks,
)
from tests.benchmarks.bench import Bench, a_bench
from tests.benchmarks.figure import Figure, table

ALONE: dict[str, Callable[[], list[Figure]]] = {
    "judging": judging.measure,
    "guard-step": guard_step.measure,
    "simulator": simulator.measure,
    "history": history.measure,
    "webhooks": webhooks.measure,
    on_kubernetes.LIVE: on_kubernetes.measure_live,
}
"""Those that need no stack."""
FIGURES: dict[str, Callable[[Bench], list[Figure]]] = {
    "memory": memory.measure,  # first: before there is any service
    "start": start.measure,  # likewise: its first release is the stack's first
    "split-live": split_live.measure,
    "own-time": own_time.measure,
    "detection": detection.measure,
    "lost": lost.measure,
    on_kubernetes.DETECTION: on_kubernetes.measure_detection,
}

PIPED = 120
"""Columns of a table that goes into a file."""


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Davy's figures.")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print a JSON array")
    parser.add_argument(
        "figures", nargs="*", choices=[[], *ALONE, *FIGURES], help="only these", metavar="FIGURE"
    )
    options = parser.parse_args()
    err = Console(stderr=True, soft_wrap=True, highlight=False)
    began = time.monotonic()

    def say(line: str) -> None:
        err.print(f"[dim]{time.monotonic() - began:5.0f} s[/] {line}")

    found = _measured(options.figures, say)
    if options.as_json:
        print(json.dumps([figure.to_json() for figure in found], indent=2))  # noqa: T201 - the result
    else:
        Console(width=None if sys.stdout.isatty() else PIPED).print(table(found))


def _measured(asked: Sequence[str], say: Callable[[str], None]) -> list[Figure]:
    """The figures that were asked for, all where none was; with a stack only where one is needed."""
    found = []
    for name in [name for name in ALONE if not asked or name in asked]:
        say(f"{name} ...")
        found += ALONE[name]()
    if chosen := [name for name in FIGURES if not asked or name in asked]:
        say("An embedded stack of its own ...")
        with a_bench(say) as bench:
            for name in chosen:
                say(f"{name} ...")
                found += FIGURES[name](bench)
        say("done, and nothing is left running")
    return found


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped, and nothing is left running")
