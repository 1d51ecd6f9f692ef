"""memory: what the whole embedded stack takes after ``davy up``, before it has any service."""

from __future__ import annotations

import time
from statistics import median

from tests.benchmarks.bench import Bench
from tests.benchmarks.figure import Figure

LIMIT = 700
"""MiB."""
LOOKS = 5
MIB = 2**20


def measure(bench: Bench) -> list[Figure]:
    """Resident memory, summed over processes: what they share counts for each of them."""
    looks = []
    for _ in range(LOOKS):
        time.sleep(1)
        looks.append(sum(process.memory_info().rss for process in bench.davy.processes()) / MIB)
    count = len(bench.davy.processes())
    what = f"{count} processes after 'davy up', median of {LOOKS} looks"
    return [Figure("memory", what, median(looks), LIMIT, "MiB", "resident")]
