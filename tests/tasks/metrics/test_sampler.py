"""The sampler against a real Envoy: every request counted, once, whatever restarts."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.domain.errors import TransientError
from tasks.domain.model import Slot
from tasks.domain.settings import settings
from tasks.metrics.counters import Kind, Look, Place, Sample, compare, parse_cluster
from tasks.metrics.sampler import PERIOD, take_sample
from tasks.metrics.store import last_look, open_store, read_samples
from tests.tasks.metrics.conftest import Poll, Proxy, Start

BOTH = (Slot.BLUE, Slot.CANDIDATE)
ALWAYS = 2**53


def everything(slots: tuple[Slot, ...] = BOTH) -> list[Sample]:
    try:
        return read_samples(settings().samples, "shop", slots, 0, ALWAYS)
    except sqlite3.OperationalError:
        return []


def count(measure: str, slot: Slot = Slot.CANDIDATE) -> int:
    return sum(getattr(sample, measure) for sample in everything((slot,)))


@pytest.fixture
def store(home: Path) -> Iterator[sqlite3.Connection]:
    assert home == settings().root
    with closing(open_store(settings().samples)) as store:
        yield store


def test_counts_the_first_burst_of_a_newborn_slot(proxy: Proxy, sampler: Start, poll: Poll) -> None:
    sampler()
    poll(everything)
    proxy.send("shop/candidate", 10, "status=500")
    proxy.send("shop/candidate/sent", 3)
    proxy.send("shop/candidate/mirror", 2, "status=503")
    poll(lambda: count("requests") + count("mirrored") >= 15)
    found = {name: count(name) for name in ("requests", "errors", "drawn", "mirrored", "mirrored_errors")}
    assert found == {"requests": 13, "errors": 10, "drawn": 10, "mirrored": 2, "mirrored_errors": 2}


def test_what_envoy_counted_before_the_first_look_is_no_increment(
    proxy: Proxy, sampler: Start, poll: Poll
) -> None:
    proxy.send("shop/candidate", 25)
    sampler()
    poll(everything)
    proxy.send("shop/candidate", 4)
    poll(lambda: count("requests") >= 4)
    assert count("requests") == 4


@pytest.mark.usefixtures("proxy")
def test_a_slot_without_requests_has_zeros_and_one_without_endpoints_nothing(
    store: sqlite3.Connection,
) -> None:
    take_sample(store)
    take_sample(store)
    assert [(sample.slot, sample.requests) for sample in everything(tuple(Slot))] == [
        (Slot.BLUE, 0),
        (Slot.CANDIDATE, 0),
    ]


def test_errors_of_a_slot_without_endpoints_count(store: sqlite3.Connection, proxy: Proxy) -> None:
    take_sample(store)
    proxy.send("shop/green", 3)
    take_sample(store)
    assert count("errors", Slot.GREEN) == 3


def test_a_sampler_that_was_killed_goes_on_without_loss(proxy: Proxy, sampler: Start, poll: Poll) -> None:
    first = sampler()
    poll(everything)
    proxy.send("shop/candidate", 6)
    poll(lambda: count("requests") == 6)
    first.kill()
    first.wait()
    before = len(everything())
    proxy.send("shop/candidate", 7, "status=500")
    time.sleep(1.2)  # the gap itself, not a wait for something
    sampler()
    poll(lambda: len(everything()) > before)
    assert (count("requests"), count("errors")) == (13, 7)
    assert max(sample.interval for sample in everything()) > 1200


def test_envoy_away_is_missing_and_back_again_counts_from_zero(
    proxy: Proxy, sampler: Start, poll: Poll
) -> None:
    sampler()
    poll(everything)
    proxy.send("shop/candidate", 5)
    poll(lambda: count("requests") == 5)
    proxy.stop()
    log = settings().root / "sampler.log"
    poll(lambda: "ConnectionRefusedError" in log.read_text())
    rows = len(everything())
    time.sleep(1.2)  # long enough for a row, if one were written
    assert len(everything()) == rows
    proxy.start()
    proxy.send("shop/candidate", 8)
    poll(lambda: count("requests") >= 13)
    assert count("requests") == 13
    assert "sampling again" in log.read_text()


def test_two_samplers_count_nothing_twice(proxy: Proxy, store: sqlite3.Connection) -> None:
    take_sample(store)
    with closing(open_store(settings().samples)) as other:
        proxy.send("shop/candidate", 3)
        take_sample(store)
        proxy.send("shop/candidate", 4)
        take_sample(other)
        take_sample(store)
    assert count("requests") == 7


def test_a_failed_look_leaves_the_history_as_it_was(store: sqlite3.Connection) -> None:
    with pytest.raises(TransientError, match="expected its counters"):
        take_sample(store)
    assert last_look(store) is None
    assert not store.in_transaction


@pytest.mark.usefixtures("proxy")
def test_samples_older_than_the_history_are_deleted(
    monkeypatch: pytest.MonkeyPatch, store: sqlite3.Connection, poll: Poll
) -> None:
    take_sample(store)
    take_sample(store)
    oldest = everything()[0].at
    monkeypatch.setenv("DAVY_HISTORY", "1s")
    settings.cache_clear()

    def gone() -> bool:
        take_sample(store)
        return everything()[0].at > oldest

    poll(gone)
    assert everything()[0].at > everything()[-1].at - 1100


@pytest.mark.usefixtures("proxy")
def test_a_sample_is_taken_in_each_period(sampler: Start, poll: Poll) -> None:
    sampler()
    poll(lambda: len(everything((Slot.BLUE,))) >= 4)
    samples = everything((Slot.BLUE,))
    periods = [sample.at // round(1000 * PERIOD) for sample in samples]
    assert len(set(periods)) == len(periods)
    assert all(sample.interval == after for sample, after in zip(samples[1:], _steps(samples), strict=True))


def _steps(samples: list[Sample]) -> list[int]:
    return [after.at - before.at for before, after in pairwise(samples)]


def test_the_sampler_is_small() -> None:
    check = "import tasks.metrics.sampler, sys; print(*{'pandas', 'numpy', 'prefect'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == ""


NAME = "shop/candidate"


def look(at: float, uptime: int | None, totals: dict[str, int]) -> Look:
    return Look(int(at * 1000), uptime, {NAME: totals}, frozenset({NAME}))


@pytest.mark.parametrize(
    ("before", "after", "requests"),
    [
        pytest.param(look(0, 50, {"requests": 5}), look(1, 51, {"requests": 9}), 4, id="goes on"),
        pytest.param(look(0, 50, {}), look(1, 51, {"requests": 9}), 9, id="is born"),
        pytest.param(look(0, 50, {"requests": 5}), look(1, 51, {"requests": 3}), 3, id="is reset"),
        pytest.param(
            look(0, 50, {"requests": 5, "inf": 5}),
            look(1, 51, {"requests": 9, "inf": 2}),
            9,
            id="overtook its reset",
        ),
        pytest.param(look(0, 50, {"requests": 5}), look(1, 0, {"requests": 9}), 9, id="envoy restarted"),
        pytest.param(
            look(0, 50, {"requests": 5}), look(600, 590, {"requests": 9}), 9, id="restarted long ago"
        ),
        pytest.param(look(0, 50, {"requests": 5}), look(600, 648, {"requests": 9}), 4, id="sampler was away"),
        pytest.param(look(0, 0, {"requests": 5}), look(1, 0, {"requests": 9}), 4, id="uptime lags"),
        pytest.param(
            look(9000, 9000, {"requests": 5}), look(5400, 9000, {"requests": 9}), 4, id="clock set back"
        ),
        pytest.param(
            look(5400, 9000, {"requests": 5}), look(5401, 5401, {"requests": 9}), 4, id="flush after that"
        ),
        pytest.param(look(0, None, {"requests": 5}), look(600, None, {"requests": 9}), 4, id="no uptime"),
    ],
)
def test_increments(before: Look, after: Look, requests: int) -> None:
    (sample,) = compare(before, after)
    assert sample.requests == requests


@pytest.mark.parametrize(
    "name", ["shop", "shop/other", "shop/blue/x", "shop/blue/drawn", "shop/blue/sent/x", ""]
)
def test_foreign_clusters_are_nobodys(name: str) -> None:
    assert parse_cluster(name) is None


def test_a_slots_cluster_is_found_by_its_name() -> None:
    assert parse_cluster("shop/blue") == Place("shop", Slot.BLUE, Kind.DRAWN)
    assert parse_cluster("shop/blue/mirror") == Place("shop", Slot.BLUE, Kind.MIRROR)
