"""Scrapes of several targets must add up to what they counted, whatever happens to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from tasks.domain.errors import PermanentError
from tasks.domain.model import Slot, Window
from tasks.metrics import open_metrics
from tests.tasks.metrics.conftest import Answering, MakeService

BOTH = (Slot.BLUE, Slot.CANDIDATE)
HTTP = {"preset": "http", "match": 'version="{slot}"'}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def answer(*series: tuple[Mapping[str, str], Mapping[float, float]]) -> tuple[int, str]:
    """Prometheus' answer: labels, and values by seconds after NOW."""
    rows = [
        {
            "metric": {"job": "shop", "instance": "a", **labels},
            "values": [[NOW.timestamp() + at, str(value)] for at, value in values.items()],
        }
        for labels, values in series
    ]
    return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}})


def requests(code: str = "200", **labels: str) -> dict[str, str]:
    return {"__name__": "http_requests_total", "code": code, **labels}


def fetch(
    answering: Answering, service: MakeService, slots: tuple[Slot, ...] = BOTH, **metrics: object
) -> pd.DataFrame:
    source = open_metrics(service(source="prometheus", url=answering.url, **(metrics or HTTP)))
    return source.fetch(slots, Window(NOW - timedelta(seconds=10), NOW))


@pytest.mark.parametrize(("started", "expected"), [(-9.5, [4, 2]), (-500, [2]), (None, [2])])
def test_a_process_that_is_new_counts_from_its_start(
    answering: Answering, service: MakeService, started: float | None, expected: list[float]
) -> None:
    birth = {"__name__": "process_start_time_seconds"}
    began = {at: NOW.timestamp() + started for at in (-7.0, -6.0)} if started else {}
    answering.answer = lambda path: (
        answer((birth, began)) if "process_start" in path else answer((requests(), {-7: 4, -6: 6}))
    )
    counts = fetch(answering, service, (Slot.CANDIDATE,))["candidate", "requests"]
    assert counts.tolist() == expected


def test_a_restart_counts_from_0_though_the_count_is_larger(
    answering: Answering, service: MakeService
) -> None:
    birth = {"__name__": "process_start_time_seconds"}
    answering.answer = lambda path: (
        answer((birth, {-7: 1000, -6: 1000, -5: 2000}))
        if "process_start" in path
        else answer((requests(), {-7: 4, -6: 6, -5: 9}))
    )
    assert fetch(answering, service, (Slot.CANDIDATE,))["candidate", "requests"].tolist() == [2, 9]


def test_a_histogram_that_went_back_counts_from_0_in_all_its_buckets(
    answering: Answering, service: MakeService
) -> None:
    name = {"__name__": "http_request_duration_seconds_bucket"}
    series = answer(
        (requests(), {-7: 100, -6: 20}),
        ({**name, "le": "0.1"}, {-7: 5, -6: 5}),
        ({**name, "le": "+Inf"}, {-7: 100, -6: 20}),
    )
    answering.answer = lambda path: answer() if "process_start" in path else series
    frame = fetch(answering, service, (Slot.CANDIDATE,))
    assert frame["candidate", "requests"].tolist() == [20]
    assert (frame["candidate", "le:100"].tolist(), frame["candidate", "le:inf"].tolist()) == ([5], [20])


def test_a_series_without_a_status_is_refused_and_never_taken_as_good(
    answering: Answering, service: MakeService
) -> None:
    series = {name: value for name, value in requests().items() if name != "code"}
    answering.answer = lambda _: answer(({**series, "http_code": "200"}, {-7: 100, -6: 120}))
    with pytest.raises(PermanentError, match=r"http_code=200.*expected the status in code or status"):
        fetch(answering, service)
    frame = fetch(answering, service, (Slot.BLUE,), **HTTP, code_label="http_code")
    assert frame["blue", "requests"].tolist() == [20]


def test_whoever_goes_on_where_he_stopped_counts_each_request_once(
    answering: Answering, service: MakeService
) -> None:
    """As the guard does: each look begins at the last moment that was seen, while scrapes arrive late."""
    # Long, because it is one history: three targets, each with both slots, are scraped every 15 s, and
    # while one slot's series are asked for, a scrape may arrive that the other's answer did not have.
    source = open_metrics(service(source="prometheus", url=answering.url, **HTTP))
    scraped = {"a": range(1, 400, 15), "b": range(7, 400, 15), "c": range(15, 400, 15)}
    late, end, until = {"blue": 6, "candidate": 4}, 20, 20

    def known(path: str) -> tuple[int, str]:
        selector = parse_qs(urlsplit(path).query)["query"][0]
        slot = next((slot for slot in late if slot in selector), None)
        if slot is None:
            return answer()
        begin = end - float(selector.rsplit("[", 1)[1].removesuffix("ms]")) / 1000
        seen = {
            name: {at: 10 * at for at in moments if begin <= at <= end - late[slot]}
            for name, moments in scraped.items()
        }
        return answer(*((requests(instance=name), values) for name, values in seen.items() if values))

    answering.answer = known
    total = dict.fromkeys(late, 0.0)
    while end < 300:
        end += 1
        start = min(until, max(20, end - 30))
        window = Window(NOW + timedelta(seconds=start), NOW + timedelta(seconds=end))
        frame = source.fetch(BOTH, window)
        fresh = frame[frame.index > NOW + timedelta(seconds=until)]
        if len(fresh):
            until = round((fresh.index[-1] - NOW).total_seconds())
            total = {slot: count + fresh[slot, "requests"].sum() for slot, count in total.items()}
    assert until > 250
    known_by = {name: [at for at in moments if 20 <= at <= until + 15] for name, moments in scraped.items()}
    expected = sum(10 * (moments[-1] - moments[0]) for moments in known_by.values())
    assert total == dict.fromkeys(late, expected)
