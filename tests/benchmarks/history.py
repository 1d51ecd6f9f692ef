"""history: the index over 10,000 releases, built, and asked again where nothing or one journal changed.

An answer is all of it: the look at each journal's size and time, the query, the figures by service. Times are the
processor's (others may share the machine), that of reading included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tasks.history import Index, history_of
from tasks.journal import Journal
from tests.benchmarks.figure import Figure
from tests.tasks.history.past import NOW, Past

NAME = "history"
RELEASES, SERVICES = 10_000, 25
SPAN = timedelta(days=365)
"""Over which they are spread."""
LIMIT = 200.0
"""Milliseconds."""
REPEATS = 15
SAMPLES = 40
"""Numbers in a verdict's evidence."""


def measure() -> list[Figure]:
    """Median answers, and the build against plain reading of the same journals."""
    with TemporaryDirectory(prefix="davy-history-") as folder:
        journals = Path(folder) / "journal"
        newest = [_release(journals, number) for number in range(RELEASES)][-1]
        index = Index(Path(folder) / "history.sqlite", journals)
        built, plain = _seconds(lambda: _ask(index, SPAN)), _seconds(lambda: _read(journals))
        size = index.path.stat().st_size / 2**20
        asked = {
            "of 30 days": _median(lambda: _ask(index, timedelta(days=30))),
            "of all releases": _median(lambda: _ask(index, SPAN)),
            "of one service": _median(lambda: _ask(index, SPAN, "service-1")),
            "of 30 days, one journal changed": _median(lambda: _change_and_ask(index, newest)),
        }
    figures = [
        Figure(NAME, f"{what}, median of {REPEATS}", ms, LIMIT, "ms", "an answer")
        for what, ms in asked.items()
    ]
    lines = f"{RELEASES:,} journals read into {size:.0f} MiB"
    return [*figures, Figure(NAME, lines, built, plain, "s", "reading them")]


def _release(journals: Path, number: int) -> Past:
    """Three in four end promoted, as most do; each with verdicts and their evidence."""
    ago = SPAN * (1 - number / RELEASES)
    service = f"service-{number % SERVICES}"
    past = Past(
        journals,
        f"r{number}",
        save=False,
        service=service,
        version=f"v{number}",
        stable=f"v{number - 1}",
        ago=ago,
    )
    past.line(1, "run", id=f"00000000-0000-4000-8000-{number:012d}")
    for step in (
        "provision-candidate-1",
        "shift-traffic-candidate-5%",
        "bake-candidate-5%-1",
        "analyse-candidate-5%-1",
    ):
        past.line(2, "intent", step)
        evidence = {"limits": [[sample / 7 for sample in range(SAMPLES)]] * 4} if "analyse" in step else None
        past.line(3, "outcome", step, result=evidence)
    return (past.failed(400) if number % 4 == 0 else past.promoted(1800)).save()


def _ask(index: Index, span: timedelta, service: str | None = None) -> None:
    found = index.find(service, NOW - span)
    assert history_of(found, NOW - span, NOW).overall.releases


def _change_and_ask(index: Index, past: Past) -> None:
    past.line(2000, "retired", slot="blue", version="v0").save()
    _ask(index, timedelta(days=30))


def _read(journals: Path) -> None:
    for path in journals.glob("*/*.jsonl"):
        assert Journal(path).lines()


def _seconds(act: Callable[[], None]) -> float:
    began = time.process_time()
    act()
    return time.process_time() - began


def _median(act: Callable[[], None]) -> float:
    """Milliseconds."""
    return median(_seconds(act) for _ in range(REPEATS)) * 1000
