"""The sampler's history as a metric source: the contract of `tasks.metrics.base`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.model import Slot, Window
from tasks.domain.settings import settings
from tasks.metrics import open_metrics
from tasks.metrics.counters import Look, Sample
from tasks.metrics.store import keep, open_store
from tests.tasks.metrics.conftest import MakeService

pytestmark = pytest.mark.usefixtures("home")

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTS = ["requests", "errors", "drawn", "mirrored", "mirrored_errors"]


def at(second: float) -> int:
    return int((START.timestamp() + second) * 1000)


def window(start: float, end: float) -> Window:
    return Window(START + timedelta(seconds=start), START + timedelta(seconds=end))


def write(*samples: Sample) -> None:
    with closing(open_store(settings().samples)) as store:
        keep(store, None, Look(0, None, {}), samples)


def sample(second: float, slot: Slot = Slot.CANDIDATE, **values: object) -> Sample:
    known: dict[str, Any] = {"service": "shop", "interval": 1000} | values
    return Sample(slot=slot, at=at(second), **known)


def test_frame_has_the_contracts_index_columns_and_values(service: MakeService) -> None:
    write(
        sample(1, requests=4, errors=1, drawn=3, latency={"5": 1, "25": 3, "inf": 4}),
        sample(2, requests=0),
        sample(2, Slot.BLUE, requests=9, drawn=9),
    )
    frame = open_metrics(service()).fetch([Slot.BLUE, Slot.CANDIDATE], window(0, 5))
    assert list(frame.index) == [pd.Timestamp(START + timedelta(seconds=second)) for second in (1, 2)]
    assert frame.index.name == "at"
    assert set(frame.dtypes) == {pd.Series([0.0]).dtype}
    assert list(frame["candidate"]) == [*COUNTS, "le:5", "le:25", "le:inf"]
    assert list(frame["candidate", "le:25"]) == [3, 0]  # sampled and idle: zero
    assert frame["blue", "requests"].isna().tolist() == [True, False]  # not sampled: missing
    assert frame["blue", "drawn"].iloc[1] == 9


def test_without_samples_there_are_no_rows_but_all_columns(service: MakeService) -> None:
    write()
    frame = open_metrics(service()).fetch([Slot.BLUE], window(0, 5))
    assert len(frame) == 0
    assert frame.columns.to_list() == [("blue", name) for name in COUNTS]
    assert str(frame.index.tz) == "UTC"


def test_only_intervals_inside_the_window_count(service: MakeService) -> None:
    write(
        sample(1, requests=1),
        sample(2.5, requests=2),  # began at 1.5
        sample(4, requests=4, interval=1500),
        sample(10, requests=8, interval=6000),
        sample(10.5, requests=16),
    )
    frame = open_metrics(service()).fetch([Slot.CANDIDATE], window(1.5, 10))
    assert list(frame["candidate", "requests"]) == [2, 4, 8]
    frame = open_metrics(service()).fetch([Slot.CANDIDATE], window(2, 10.2))
    assert list(frame["candidate", "requests"]) == [4, 8]


def test_other_services_and_slots_stay_out(service: MakeService) -> None:
    write(sample(1, service="cart", requests=5), sample(1, Slot.GREEN, requests=6), sample(2, requests=7))
    frame = open_metrics(service()).fetch([Slot.CANDIDATE], window(0, 5))
    assert frame["candidate", "requests"].tolist() == [7]
    assert set(frame.columns.get_level_values(0)) == {"candidate"}


def test_a_bound_that_envoy_did_not_have_then_is_unknown(service: MakeService) -> None:
    write(
        sample(1, requests=1, latency={"10": 1, "inf": 1}),
        sample(2, requests=1, latency={"20": 1, "inf": 1}),
    )
    frame = open_metrics(service()).fetch([Slot.CANDIDATE], window(0, 5))["candidate"]
    assert frame["le:10"].isna().tolist() == [False, True]
    assert frame["le:20"].isna().tolist() == [True, False]


def test_reads_while_the_sampler_writes(service: MakeService) -> None:
    write(sample(1, requests=1))
    with closing(open_store(settings().samples)) as store:
        store.execute("BEGIN IMMEDIATE")
        keep(store, None, Look(0, None, {}), [sample(2, requests=2)])
        frame = open_metrics(service()).fetch([Slot.CANDIDATE], window(0, 5))
        assert frame["candidate", "requests"].tolist() == [1]
        store.execute("ROLLBACK")


def test_a_sampler_that_never_ran_is_worth_another_try(service: MakeService) -> None:
    with pytest.raises(TransientError, match="expected the sampler's history") as caught:
        open_metrics(service()).fetch([Slot.CANDIDATE], window(0, 5))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


def test_a_file_that_is_no_history_is_refused(home: Path, service: MakeService) -> None:
    home.mkdir(parents=True)
    settings().samples.write_bytes(b"not a database, " * 100)
    with pytest.raises(PermanentError, match=r"samples\.sqlite: file is not a database"):
        open_metrics(service()).fetch([Slot.CANDIDATE], window(0, 5))
