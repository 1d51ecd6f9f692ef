"""What other proxies and servers count must be read as exactly as our own Envoy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

import pandas as pd
import pytest
from pydantic import ValidationError

from tasks.domain.errors import TransientError
from tasks.domain.model import Slot, Window
from tasks.domain.parts import Metrics
from tasks.domain.spec import service_adapter
from tasks.metrics import open_metrics
from tasks.metrics.presets import PRESETS, Place
from tests.tasks.metrics.conftest import MakeService, Poll, StartPrometheus, needs_prometheus
from tests.tasks.metrics.exporter import Exporter

BOTH = (Slot.BLUE, Slot.CANDIDATE)
HTTP = {"preset": "http", "match": 'version="{slot}"'}

ISTIO = (
    'istio_requests_total{{reporter="source",destination_workload="shop-{0}",response_code="{1}"}}',
    'istio_request_duration_milliseconds_bucket{{reporter="source",destination_workload="shop-{0}",le="{2}"}}',
)
MAIN = 'service="shop-blue",canary="{3}"'
NGINX = (
    f'nginx_ingress_controller_requests{{{{{MAIN},status="{{1}}"}}}}',
    f'nginx_ingress_controller_request_duration_seconds_bucket{{{{{MAIN},le="{{4}}"}}}}',
)
PLAIN = (
    'http_requests_total{{version="{0}",code="{1}"}}',
    'http_request_duration_seconds_bucket{{version="{0}",le="{4}"}}',
)
FORMATS = {"istio": ISTIO, "nginx": NGINX, "http": PLAIN}

FOREIGN = {
    "istio": [
        'istio_requests_total{reporter="destination",destination_workload="shop-candidate",response_code="500"}',
        'istio_requests_total{reporter="source",destination_workload="my-shop-candidate",response_code="500"}',
    ],
    "nginx": [
        'nginx_ingress_controller_requests{service="my-shop-blue",canary="ns-my-shop-candidate-80",status="500"}',
        'nginx_ingress_controller_requests{service="shop-blue",canary="ns-shop-baseline-80",status="500"}',
    ],
    "http": ['http_requests_total{version="green",code="500"}'],
}


def counted(kind: str, slot: Slot, codes: Mapping[str, int], fast: int = 0) -> dict[str, float]:
    """The series of one slot: requests by status, *fast* ones of which took at most 25 ms."""
    requests, buckets = FORMATS[kind]
    canary = "ns-shop-candidate-80" if slot is Slot.CANDIDATE else ""
    series: dict[str, float] = {
        requests.format(slot, code, "", canary, ""): count for code, count in codes.items()
    }
    for milliseconds, seconds, count in (("25", "0.025", fast), ("+Inf", "+Inf", sum(codes.values()))):
        series[buckets.format(slot, "", milliseconds, canary, seconds)] = count
    return series


@pytest.fixture
def exporter(free_port: Callable[[], int]) -> Iterator[Callable[[], Exporter]]:
    """Starts exporters; all end with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Exporter(free_port()))


class Reading:
    """A source that reads a real Prometheus, which scrapes exporters each second."""

    def __init__(
        self, prometheus: StartPrometheus, service: MakeService, poll: Poll, metrics: Mapping[str, object]
    ) -> None:
        self._prometheus, self._service, self._poll, self._metrics = prometheus, service, poll, metrics

    def start(self, *exporters: Exporter) -> None:
        """Return once each was scraped twice."""
        targets = [exporter.address for exporter in exporters]
        jobs = [{"job_name": "shop", "static_configs": [{"targets": targets}]}]
        url = self._prometheus(
            json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs})  # JSON is YAML too
        )
        self._source = open_metrics(self._service(source="prometheus", url=url, **self._metrics))
        self._began = datetime.now(UTC)
        self.scraped(*exporters)

    def scraped(self, *exporters: Exporter, times: int = 2) -> None:
        """Return once each was scraped so many times more."""
        wanted = [(exporter, exporter.scrapes + times) for exporter in exporters]
        self._poll(lambda: all(exporter.scrapes >= count for exporter, count in wanted))

    def frame(self) -> pd.DataFrame:
        """All that there is by now."""
        return self._source.fetch(BOTH, Window(self._began, datetime.now(UTC)))

    def has(self, **expected: float) -> None:
        """Return once the sums are so; measures by ``slot_measure``."""

        def found() -> dict[str, float]:
            with suppress(TransientError):  # not there yet
                sums = self.frame().sum()
                return {name: sums.get(tuple(name.split("_", 1)), -1.0) for name in expected}
            return {}

        try:
            self._poll(lambda: found() == expected)
        except TimeoutError:
            assert found() == expected


@pytest.fixture
def reading(prometheus: StartPrometheus, service: MakeService, poll: Poll) -> Callable[..., Reading]:
    """Reads with the metrics that a test wants."""
    return lambda **metrics: Reading(prometheus, service, poll, metrics)


@needs_prometheus
@pytest.mark.parametrize("kind", FORMATS)
def test_a_preset_counts_requests_errors_and_latencies(
    kind: str, exporter: Callable[[], Exporter], reading: Callable[..., Reading]
) -> None:
    one = exporter()
    read = reading(**(HTTP if kind == "http" else {"preset": kind}))
    one.series = counted(kind, Slot.BLUE, {"200": 1000, "500": 50}, fast=900)
    read.start(one)
    one.series |= dict.fromkeys(FOREIGN[kind], 1000)
    one.series |= counted(kind, Slot.BLUE, {"200": 1010, "404": 2, "500": 51}, fast=905)
    one.series |= counted(kind, Slot.CANDIDATE, {"503": 10})  # born with its first errors
    read.has(blue_requests=13, blue_errors=1, candidate_requests=10, candidate_errors=10)
    one.series |= counted(kind, Slot.CANDIDATE, {"503": 10, "200": 30}, fast=20)
    read.has(candidate_requests=40, candidate_errors=10)
    frame = read.frame()
    assert [frame["candidate", f"le:{bound}"].sum() for bound in ("25", "inf")] == [20, 40]
    assert [frame["blue", f"le:{bound}"].sum() for bound in ("25", "inf")] == [5, 13]
    for unknown in ("drawn", "mirrored", "mirrored_errors"):
        assert frame["candidate", unknown].isna().all()
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique


@needs_prometheus
def test_instances_restart_and_vanish_each_on_its_own(
    exporter: Callable[[], Exporter], reading: Callable[..., Reading]
) -> None:
    read, steady, weak, stable = reading(**HTTP), exporter(), exporter(), exporter()
    steady.series = counted("http", Slot.CANDIDATE, {"200": 1000})
    weak.series = counted("http", Slot.CANDIDATE, {"200": 500})
    stable.series = counted("http", Slot.BLUE, {"200": 100})
    read.start(steady, weak, stable)
    weak.is_down = True
    steady.series = counted("http", Slot.CANDIDATE, {"200": 1010})
    stable.series = counted("http", Slot.BLUE, {"200": 150})
    read.scraped(weak, times=5)
    weak.series = counted("http", Slot.CANDIDATE, {"200": 7, "500": 3})  # a new process
    weak.is_down = False
    read.has(candidate_requests=20, candidate_errors=3, blue_requests=50)
    frame = read.frame()
    both = frame[[("blue", "requests"), ("candidate", "requests")]].dropna()
    assert len(both) >= 5  # the moments are shared, though each target has its own


@needs_prometheus
def test_a_target_that_is_down_leaves_a_gap_and_loses_nothing(
    exporter: Callable[[], Exporter], reading: Callable[..., Reading]
) -> None:
    read, one, stable = reading(**HTTP), exporter(), exporter()
    one.series = counted("http", Slot.CANDIDATE, {"200": 100})
    stable.series = counted("http", Slot.BLUE, {"200": 100})
    read.start(one, stable)
    one.is_down = True
    read.scraped(one, stable, times=6)
    one.series = counted("http", Slot.CANDIDATE, {"200": 130, "502": 5})
    one.is_down = False
    read.has(candidate_requests=35, candidate_errors=5, blue_requests=0)
    requests = read.frame()["candidate", "requests"]
    assert requests.isna().sum() >= 4
    assert requests.max() == 35


def selectors(slot: Slot, **metrics: object) -> tuple[str, ...]:
    given = Metrics.model_validate({"source": "prometheus", "url": "http://127.0.0.1:9090", **metrics})
    return PRESETS[given.preset].selectors(given, Place("shop", slot, f"shop-{slot}", "shop", ".*"))


def test_on_kubernetes_a_slots_own_deployment_counts_in_its_namespace() -> None:
    content = {
        "service": "shop",
        "strategy": "canary",
        "fleet": {"kind": "kubernetes", "namespace": "sales", "deployment": "web"},
        "router": {"kind": "istio", "service": "front"},
        "analysis": {"metrics": {"source": "prometheus", "url": "http://127.0.0.1:9090", "preset": "istio"}},
    }
    file = service_adapter.validate_python(content)
    own, other = (
        PRESETS["istio"].selectors(file.analysis.metrics, Place.of(file, slot))
        for slot in (Slot.BLUE, Slot.GREEN)
    )
    assert 'destination_workload="web", destination_workload_namespace=~"sales"' in str(own)
    assert 'destination_workload="web-green", ' in str(other)
    assert 'canary=~"sales-front-blue-.+"' in str(
        PRESETS["nginx"].selectors(file.analysis.metrics, Place.of(file, Slot.BLUE))
    )


def test_matchers_of_a_service_file_stand_in_for_those_of_the_preset() -> None:
    mesh = 'app="{service}", version="{slot}", reporter="destination", path!="{{x}} reporter="'
    (one,) = selectors(Slot.BLUE, preset="istio", match=mesh)
    assert one == (
        '{__name__=~"istio_requests_total|istio_request_duration_milliseconds_bucket", '
        'app="shop", version="blue", reporter="destination", path!="{x} reporter="}'
    )
    mesh = 'app="{service}", version="{slot}", path!="reporter="'
    assert 'reporter="source", app=' in str(selectors(Slot.BLUE, preset="istio", match=mesh))
    by_slot = {"blue": 'canary=""', "candidate": 'canary=~".+"'}
    (only,) = selectors(Slot.CANDIDATE, preset="nginx", match=by_slot)
    assert only.endswith(', canary=~".+"}')
    assert selectors(Slot.GREEN, preset="nginx", match=by_slot) == ()


@pytest.mark.parametrize(
    ("service", "canary", "slots"),
    [
        ("shop", "", {Slot.BLUE, Slot.GREEN}),  # where no release runs, whichever has everything
        ("shop-blue", "", {Slot.BLUE}),
        ("shop-green", "", {Slot.GREEN}),
        ("shop-candidate", "", {Slot.CANDIDATE}),
        ("shop-blue", "ns-shop-candidate-80", {Slot.CANDIDATE}),
        ("shop-green", "ns-shop-candidate-http-web", {Slot.CANDIDATE}),
        ("shop-blue", "ns-shop-green-80", {Slot.GREEN}),
        ("shop-green", "ns-shop-blue-http", {Slot.BLUE}),
        ("shop", "ns-shop-green-80", {Slot.GREEN}),
        ("my-shop-blue", "ns-my-shop-candidate-80", set()),
        ("shop-blue-next", "", set()),
        ("shop-next", "ns-shop-next-candidate-80", set()),
    ],
)
def test_a_slot_counts_in_the_main_ingress_and_in_the_canary(
    service: str, canary: str, slots: set[Slot]
) -> None:
    labels = {"__name__": "nginx_ingress_controller_requests", "service": service, "canary": canary}

    def counts(selector: str) -> bool:
        matchers = re.findall(r'(\w+)(=~?)"([^"]*)"', selector)
        patterns = (
            (labels[label], text if kind == "=~" else re.escape(text)) for label, kind, text in matchers
        )
        return all(re.fullmatch(pattern, value) for value, pattern in patterns)

    found = {slot: [one for one in selectors(slot, preset="nginx") if counts(one)] for slot in Slot}
    assert {slot for slot, ones in found.items() if ones} == slots
    assert all(len(ones) <= 1 for ones in found.values())


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"preset": "istio"}, "expected source 'prometheus'"),
        ({"source": "prometheus", "url": "http://x", "preset": "http"}, "found no match with preset 'http'"),
        ({"source": "prometheus", "url": "http://x", "match": 'a="{slot}"'}, "expected another preset"),
        ({"match": 'a="b"'}, r"match\n.*expected {slot} or {workload} in it"),
        ({"match": "a={slot}"}, "expected PromQL label matchers"),
        ({"match": 'a="{slot}"} or x{b="c"'}, "expected PromQL label matchers"),
        ({"match": 'a="{slot}", b="{version}"'}, "expected PromQL label matchers"),
        ({"match": 'a="{slot}", b="{slot.port}"'}, "expected PromQL label matchers"),
        ({"match": {"purple": 'a="b"'}}, "'blue', 'green'"),
        (
            {"source": "prometheus", "url": "http://x", "preset": "linkerd"},
            "'envoy', 'istio', 'nginx' or 'http'",
        ),
    ],
)
def test_a_preset_that_cannot_be_read_is_refused_by_field(
    metrics: Mapping[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Metrics.model_validate(metrics)
