"""A config's metrics must come back whole, in their places, or as an error."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from tasks.domain.canary import CanaryConfig, MetricConfig
from tasks.domain.errors import DavyError, InputError, PermanentError, TransientError
from tasks.domain.pairs import Series
from tasks.metrics.canary_queries import MOST_POINTS, Grid, Source, fetch_series, fetch_sides
from tasks.metrics.templates import Scope
from tests.tasks.metrics.conftest import Answering, Poll, StartPrometheus, needs_prometheus
from tests.tasks.metrics.exporter import Exporter
from tests.tasks.metrics.test_templates import vectors

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SELF = """
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: self, static_configs: [{targets: ["127.0.0.1:1"]}]}
"""


def config(**queries: str) -> CanaryConfig:
    """A config whose metrics are whole PromQL queries."""
    metrics = [
        MetricConfig(name, {"type": "prometheus", "customInlineTemplate": f"PromQL:{query}"})
        for name, query in queries.items()
    ]
    return CanaryConfig("test", tuple(metrics))


def scope(name: str = "canary", start: datetime = NOW, steps: int = 5, step: timedelta = MINUTE) -> Scope:
    return Scope(name, "", start, start + steps * step, step)


def source(url: str, timeout: float = 10, patience: float = 10) -> Source:
    return Source(url, timedelta(seconds=timeout), timedelta(seconds=patience))


def matrix(*series: tuple[Mapping[str, str], Sequence[tuple[float, object]]]) -> str:
    """Prometheus' answer: labels, and values by minutes after NOW."""
    rows = [
        {
            "metric": labels,
            "values": [[NOW.timestamp() + 60 * minute, str(value)] for minute, value in values],
        }
        for labels, values in series
    ]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}})


def values(series: Series) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in series.values]


def parameter(path: str, name: str) -> str:
    return parse_qs(urlsplit(path).query)[name][0]


GAPS = matrix(({"__name__": "errors"}, [(0, 9), (1, 1), (2, "NaN"), (4, "+Inf")]))


def test_gaps_stay_gaps_in_their_places(answering: Answering) -> None:
    answering.answer = lambda _: (200, GAPS)
    (series,) = fetch_series(config(errors="errors"), scope(), source(answering.url))
    assert (series.name, series.tags) == ("errors", {})
    assert values(series) == [1, None, None, float("inf"), None]
    assert [parameter(answering.asked[0], name) for name in ("start", "end", "step")] == [
        f"{(NOW + MINUTE).timestamp():.3f}",
        f"{(NOW + 5 * MINUTE).timestamp():.3f}",
        "60.000",
    ]


def test_packed_values_are_those_that_kayenta_judges(answering: Answering) -> None:
    answering.answer = lambda _: (200, GAPS)
    (series,) = fetch_series(config(errors="errors"), scope(), source(answering.url), packed=True)
    assert values(series) == [9, 1, None, float("inf")]
    assert parameter(answering.asked[0], "start") == f"{NOW.timestamp():.3f}"


def test_each_set_of_labels_is_a_series_and_no_data_is_none(answering: Answering) -> None:
    two = matrix(({"pod": "a"}, [(1, 1)]), ({"pod": "b", "__name__": "x"}, [(2, 2)]))

    def answer(path: str) -> tuple[int, str]:
        query = parameter(path, "query")
        return 200, two if query.endswith("canary") else matrix()

    answering.answer = answer
    asked = config(one="one-${scope}", two="two-${scope}")
    sides = fetch_sides(asked, scope("control"), scope("canary"), source(answering.url))
    assert sides.control == []
    assert [(series.name, series.tags) for series in sides.experiment] == [
        ("one", {"pod": "a"}),
        ("one", {"pod": "b"}),
        ("two", {"pod": "a"}),
        ("two", {"pod": "b"}),
    ]


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_stumbles_is_asked_again(answering: Answering, status: int) -> None:
    answers = iter([(status, "busy"), (200, "<html>starting</html>")])
    answering.answer = lambda _: next(answers, (200, GAPS))
    (series,) = fetch_series(config(errors="errors"), scope(), source(answering.url))
    assert values(series)[0] == 1
    assert len(answering.asked) == 3


def test_a_server_that_goes_on_failing_is_an_error_that_names_the_metric(answering: Answering) -> None:
    answering.answer = lambda _: (503, "overloaded")
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"metric errors: .*503.*overloaded.*expected status 200"):
        fetch_series(config(errors="errors"), scope(), source(answering.url, patience=2))
    assert time.monotonic() - began < 20
    assert 2 <= len(answering.asked) <= 4  # with growing pauses


@pytest.mark.parametrize("answer", [(400, "bad_data"), (403, ""), (422, ""), (200, '{"hello": "world"}')])
def test_a_refusal_is_not_tried_again(answering: Answering, answer: tuple[int, str]) -> None:
    answering.answer = lambda _: answer
    with pytest.raises(PermanentError, match=r"metric errors: .*expected"):
        fetch_series(config(errors="errors"), scope(), source(answering.url))
    assert len(answering.asked) == 1


def test_one_failure_among_many_metrics_is_no_lack_of_data(answering: Answering) -> None:
    answering.answer = lambda path: (200, GAPS) if parameter(path, "query") != "m7" else (400, "no")
    with pytest.raises(PermanentError, match="metric m7"):
        fetch_series(config(**{f"m{n}": f"m{n}" for n in range(20)}), scope(), source(answering.url))


def test_many_queries_that_hang_end_together(free_port: Callable[[], int]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(TransientError, match="metric m0: "):
            fetch_series(
                config(**{f"m{n}": "x" for n in range(40)}), scope(), source(url, timeout=0.5, patience=1)
            )
    assert time.monotonic() - began < 15  # one after the other, 20 s and more


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (scope(steps=0), r"step: found '0:01:00', expected 1 to 220000 steps in the window of 0:00:00"),
        (scope(step=timedelta(seconds=30), steps=300_000), "expected 1 to 220000 steps"),
        (Scope("x", "", NOW, NOW + MINUTE, 2 * MINUTE), r"found '0:02:00', .* window of 0:01:00"),
        (scope(step=timedelta(microseconds=1500)), "whole milliseconds"),
        (scope(step=timedelta(0)), "whole milliseconds"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_before_anything_is_asked(
    answering: Answering, broken: Scope, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fetch_series(config(errors="errors"), broken, source(answering.url))
    assert answering.asked == []


def test_a_query_that_cannot_be_built_is_refused_with_its_metric(answering: Answering) -> None:
    asked = config(fine="1", broken="${gone}")
    with pytest.raises(InputError, match=r"metrics\.broken\.query: found '\$\{gone\}'"):
        fetch_series(asked, scope(), source(answering.url))
    other = CanaryConfig("test", (MetricConfig("cpu", {"type": "datadog", "metricName": "cpu"}),))
    with pytest.raises(InputError, match=r"metrics\.cpu\.query\.type: found 'datadog', expected prometheus"):
        fetch_series(other, scope(), source(answering.url))
    assert answering.asked == []


@needs_prometheus
def test_a_real_server_gives_every_point_of_a_window_of_any_length(
    prometheus: StartPrometheus, poll: Poll
) -> None:
    url = prometheus(SELF)
    step = timedelta(milliseconds=7)
    steps = 2 * MOST_POINTS + 5
    window = Scope(
        "x", "", NOW + timedelta(milliseconds=3), NOW + steps * step + timedelta(milliseconds=8), step
    )
    poll(lambda: _answers(url))
    (series,) = fetch_series(config(time="time()"), window, source(url))
    assert len(series.values) == steps  # what is left of the window is no whole step
    expected = window.start.timestamp() + np.arange(1, steps + 1) * step.total_seconds()
    assert np.allclose(series.values, expected, atol=0.0005, rtol=0)


@needs_prometheus
def test_a_real_server_refuses_in_words(prometheus: StartPrometheus, poll: Poll) -> None:
    url = prometheus(SELF)
    poll(lambda: _answers(url))
    with pytest.raises(PermanentError, match=r"metric broken: .*parse error"):
        fetch_series(config(fine="1", broken="sum(("), scope(), source(url))
    assert fetch_series(config(gone="gone"), scope(), source(url)) == []


@needs_prometheus
def test_a_target_that_is_down_leaves_a_gap_in_its_own_series_only(
    prometheus: StartPrometheus, poll: Poll, free_port: Callable[[], int]
) -> None:
    with Exporter(free_port()) as down, Exporter(free_port()) as up:
        down.series = up.series = {"load": 1.5}
        url = prometheus(SELF.replace("127.0.0.1:1", f'{down.address}", "{up.address}'))
        poll(lambda: min(down.scrapes, up.scrapes) > 2)
        down.is_down, before = True, down.scrapes
        poll(lambda: down.scrapes >= before + 5)
        down.is_down, before = False, down.scrapes
        poll(lambda: down.scrapes >= before + 3)
        now = datetime.now(UTC)
    window = scope(start=now - timedelta(seconds=20), steps=20, step=timedelta(seconds=1))
    one, other = fetch_series(config(load="load"), window, source(url))
    gapped, whole = (one, other) if one.tags["instance"] == down.address else (other, one)
    assert whole.tags == {"instance": up.address, "job": "self"}
    known, of_whole = (np.flatnonzero(~np.isnan(series.values)) for series in (gapped, whole))
    assert 4 <= np.diff(known).max() <= 8  # steps from one value to the next, across the gap
    assert np.diff(of_whole).max() == 1
    assert set(gapped.values[known]) == {1.5}


def _answers(url: str) -> bool:
    try:
        return bool(fetch_series(config(one="vector(1)"), scope(), source(url, timeout=1, patience=0.1)))
    except DavyError:
        return False


@pytest.mark.parametrize("vector", vectors("prometheus_parse"))
def test_the_shared_figures_of_answers(answering: Answering, vector: Mapping[str, Any]) -> None:
    answering.answer = lambda _: (200, json.dumps(vector["inputs"]["response"]))
    found = fetch_series(config(metric="metric"), scope(), source(answering.url), packed=True)
    expected = vector["expected"]["series"] or []
    assert [dict(series.tags) for series in found] == [one["tags"] for one in expected]
    assert [series.values.tolist() for series in found] == [one["values"] for one in expected]


@pytest.mark.parametrize("vector", vectors("datadog_fill"))
def test_the_shared_figures_of_gaps(vector: Mapping[str, Any]) -> None:
    given = vector["inputs"]
    step = timedelta(seconds=given["interval_s"])
    start = datetime.fromtimestamp(given["start"] / 1000, UTC)
    last = (given["end"] - given["start"]) // (1000 * given["interval_s"])
    points = [(at, float("nan") if value is None else value) for at, value in given["pointlist"]]
    expected = [float(value) for value in vector["expected"]["values"]]
    assert np.array_equal(Grid(start, step, 0, last).place(points), expected, equal_nan=True)
