"""A real Prometheus that scrapes a real Envoy must say what the sampler says."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from tasks.domain.errors import DavyError, PermanentError, TransientError
from tasks.domain.model import Slot, Window
from tasks.domain.settings import settings
from tasks.metrics import open_metrics
from tasks.metrics.base import MetricSource
from tasks.metrics.counters import FILTER
from tasks.metrics.prometheus import Prometheus
from tasks.metrics.server import PIECE
from tests.tasks.metrics.conftest import (
    Answering,
    MakeService,
    Poll,
    Proxy,
    Start,
    StartPrometheus,
    needs_prometheus,
)

CONFIGURATION = Path(__file__).parents[3] / "infra/local/prometheus.yml"
BOTH = (Slot.BLUE, Slot.CANDIDATE)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = Window(NOW - timedelta(minutes=1), NOW)


@pytest.fixture
def server(prometheus: StartPrometheus) -> str:
    """Prometheus with the project's own configuration, but for the port; its address."""
    return prometheus(CONFIGURATION.read_text().replace(":9901", f":{settings().envoy_port}"))


class Pair:
    """Both sources, asked for the same window."""

    def __init__(self, *sources: MetricSource) -> None:
        self.sources = sources

    def frames(self) -> list[pd.DataFrame]:
        """What each says of the last five minutes."""
        now = datetime.now(UTC)
        return [source.fetch(BOTH, Window(now - timedelta(minutes=5), now)) for source in self.sources]

    def sums(self) -> list[dict[str, float]]:
        """Each one's sums, by ``slot measure``; nothing while one of them does not answer yet."""
        with suppress(TransientError):
            return [{" ".join(key): value for key, value in f.sum().items()} for f in self.frames()]
        return [{}]

    def answered(self, slot: str, requests: int) -> bool:
        """Whether both have seen so many requests end. Envoy's histograms come last, at its flush."""
        return all(one.get(f"{slot} le:inf") == requests for one in self.sums())

    def sampled(self) -> bool:
        """Whether both have a sample."""
        try:
            return all(len(frame) for frame in self.frames())
        except TransientError:
            return False


@pytest.fixture
def pair(proxy: Proxy, sampler: Start, server: str, service: MakeService, poll: Poll) -> Pair:
    """Both sources, sampling Envoy."""
    assert proxy
    sampler()
    pair = Pair(open_metrics(service()), open_metrics(service(source="prometheus", url=server)))
    poll(pair.sampled)
    return pair


@needs_prometheus
def test_both_sources_say_the_same(pair: Pair, proxy: Proxy, poll: Poll) -> None:
    proxy.send("shop/candidate", 10, "status=500")  # a first burst: the series are born with it
    proxy.send("shop/candidate", 20, "delay=0.03")
    proxy.send("shop/candidate/sent", 5, "delay=0.06")
    proxy.send("shop/candidate/mirror", 4, "status=503")
    proxy.send("shop/blue", 50)
    poll(lambda: pair.answered("candidate", 39) and pair.answered("blue", 50))
    samples, prometheus = pair.sums()
    assert samples == prometheus
    counts = ("requests", "errors", "drawn", "mirrored", "mirrored_errors")
    assert [samples[f"candidate {name}"] for name in counts] == [35, 10, 30, 4, 4]
    assert samples["candidate le:25"] <= 14  # not the 25 that took longer
    ours, theirs = pair.frames()
    assert ours.columns.equals(theirs.columns)
    assert ours.index.dtype == theirs.index.dtype
    assert theirs.index.is_monotonic_increasing


@needs_prometheus
def test_both_sources_bear_a_restart_of_envoy(pair: Pair, proxy: Proxy, poll: Poll) -> None:
    proxy.send("shop/candidate", 30)
    poll(lambda: pair.answered("candidate", 30))
    proxy.stop()
    proxy.start()
    proxy.send("shop/candidate", 3, "status=500")
    proxy.send("shop/candidate", 60)
    poll(lambda: pair.answered("candidate", 93))
    samples, prometheus = pair.sums()
    assert samples == prometheus
    assert (samples["candidate requests"], samples["candidate errors"]) == (93, 3)


def test_the_configuration_scrapes_what_the_sampler_reads() -> None:
    assert f"filter: ['{FILTER}']" in CONFIGURATION.read_text()


def fetch(service: MakeService, url: str, window: Window = MINUTE, **metrics: object) -> pd.DataFrame:
    return Prometheus(service(source="prometheus", url=url, **metrics)).fetch(BOTH, window)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((400, "bad_data"), PermanentError),
        ((401, ""), PermanentError),
        ((403, ""), PermanentError),
        ((404, ""), PermanentError),
        ((422, "query processing would load too many samples"), PermanentError),
        ((429, ""), TransientError),
        ((500, ""), TransientError),
        ((502, ""), TransientError),
        ((503, "query timed out"), TransientError),
        ((504, ""), TransientError),
        ((200, "<html>starting</html>"), TransientError),
        ((200, '{"hello": "world"}'), PermanentError),
    ],
)
def test_every_refusal_becomes_one_of_our_errors(
    answering: Answering, service: MakeService, answer: tuple[int, str], expected: type[DavyError]
) -> None:
    answering.answer = lambda _: answer
    with pytest.raises(expected, match="expected") as caught:
        fetch(service, answering.url)
    assert caught.value.__cause__ is not None
    assert len(answering.asked) == 1  # retrying is the verb's business


def test_a_server_that_is_not_there_is_worth_another_try(
    service: MakeService, free_port: Callable[[], int]
) -> None:
    with pytest.raises(TransientError, match="ConnectionError"):
        fetch(service, f"http://127.0.0.1:{free_port()}")


def test_a_server_that_does_not_answer_is_given_up_in_time(service: MakeService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(TransientError, match=r"expected an answer in 0\.3 s"):
            fetch(service, f"http://127.0.0.1:{silent.getsockname()[1]}", timeout="300ms")
    assert time.monotonic() - began < 10


NAMES = {
    "xx": ("envoy_cluster_upstream_rq_xx", {"envoy_response_code_class": "2"}),
    "5xx": ("envoy_cluster_upstream_rq_xx", {"envoy_response_code_class": "5"}),
    "up": ("envoy_cluster_membership_total", {}),
    "uptime": ("envoy_server_uptime", {}),
}


def result(*series: tuple[str, str, dict[int, int]], instance: str = "a") -> str:
    """Prometheus' answer: kind, cluster, and values by seconds after NOW."""
    rows = [
        {
            "metric": {
                "__name__": NAMES[kind][0],
                "envoy_cluster_name": cluster,
                "job": "envoy",
                "instance": instance,
                **NAMES[kind][1],
            },
            "values": [[NOW.timestamp() + second, str(value)] for second, value in values.items()],
        }
        for kind, cluster, values in series
    ]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}})


def test_births_resets_and_gaps(answering: Answering, service: MakeService) -> None:
    always = ("up", "shop/candidate", dict.fromkeys((-9, -8, -7, -3, -2), 1))
    born = ("5xx", "shop/candidate", {-8: 10, -7: 12, -3: 12, -2: 3})
    answering.answer = lambda _: (200, result(always, born))
    frame = fetch(service, answering.url)
    errors = frame["candidate", "errors"]
    assert errors.tolist() == [10, 2, 0, 3]
    assert [(moment - NOW).total_seconds() for moment in errors.index] == [-8, -7, -3, -2]
    assert frame["blue", "requests"].isna().all()


def test_a_slot_that_is_born_with_its_first_errors_counts_them(
    answering: Answering, service: MakeService
) -> None:
    answering.answer = lambda _: (
        200,
        result(
            ("uptime", "", {-9: 50, -8: 51}),
            ("up", "shop/candidate", {-8: 1}),
            ("5xx", "shop/candidate", {-8: 10}),
        ),
    )
    assert fetch(service, answering.url)["candidate", "errors"].tolist() == [10]
    (asked,) = parse_qs(urlsplit(answering.asked[0]).query)["query"]
    assert 'envoy_cluster_name=~"|shop/' in asked  # series without a cluster, such as the uptime, too


def test_an_empty_answer_has_no_rows_but_all_columns(answering: Answering, service: MakeService) -> None:
    answering.answer = lambda _: (200, result())
    frame = fetch(service, answering.url)
    assert frame.shape == (0, 10)


def test_a_long_window_is_asked_for_in_pieces_and_loses_nothing_between(
    answering: Answering, service: MakeService
) -> None:
    window = Window(NOW - 3 * PIECE, NOW)
    seconds = range(-3 * int(PIECE.total_seconds()), 1, 60)

    def answer(path: str) -> tuple[int, str]:
        end = float(parse_qs(urlsplit(path).query)["time"][0]) - NOW.timestamp()
        own = [second for second in seconds if end - PIECE.total_seconds() <= second <= end]
        return 200, result(
            ("up", "shop/blue", dict.fromkeys(own, 1)), ("xx", "shop/blue", {s: 10_000 + s for s in own})
        )

    answering.answer = answer
    frame = fetch(service, answering.url, window)
    assert len(answering.asked) == 3
    assert frame["blue", "requests"].tolist() == [60] * 30
