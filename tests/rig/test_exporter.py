"""The rig's metrics are what Istio, ingress-nginx or servers would export of the mesh's requests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tasks.metrics.presets import PRESETS
from tests.rig.cluster import mesh_prometheus
from tests.rig.cluster.exporter import BOUNDS, Counts, Exporter
from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.mesh_labels import SHAPES
from tests.rig.cluster.mesh_log import lines_in
from tests.rig.cluster.mesh_objects import by_kind, pod, to, virtual_service
from tests.rig.cluster.mesh_pods import Pods
from tests.rig.recorder import ask as look
from tests.rig.stack import await_that
from tests.rig.test_mesh import Shop, ask, mesh, shop

__all__ = ["mesh", "shop"]

CANDIDATE = pod("shop-candidate", "10.244.9.1", version="2.0", app="shop")
LINE = {
    "at": "0",
    "attempts": 1,
    "cluster": "outbound|80|v2|shop.shop.svc.cluster.local",
    "code": 200,
    "duration": 12,
    "entry": "1",
    "flags": "-",
    "grpc": None,
    "host": "shop",
    "kind": "",
    "method": "GET",
    "path": "/",
    "route": "shop",
    "upstream_host": "127.244.9.1:8080",
    "version": "2.0",
}
NOWHERE: dict[str, object] = {"upstream_host": None, "version": None, "code": 503, "flags": "UH"}


def counted(folder: Path, kind: str, *lines: Mapping[str, object]) -> list[str]:
    """What is exported of these lines, of an entry of this kind."""
    log = folder / "log"
    log.write_text("".join(json.dumps({**LINE, "at": str(time.time()), **line}) + "\n" for line in lines))
    pods = Pods()
    pods.see(by_kind(CANDIDATE))
    entry = Entry(1, kind, "shop", "shop")  # type: ignore[arg-type]
    stage = SimpleNamespace(entries=[entry], pods=pods, log=log)
    return Counts(stage).text().splitlines()  # type: ignore[arg-type]


def series(said: list[str], name: str, *labels: str) -> list[float]:
    """The values of the series with this name and these labels."""
    found = [one for one in said if one.startswith(f"{name}{{") and all(label in one for label in labels)]
    return [float(one.rpartition(" ")[2]) for one in found]


def test_istios_source_counts_what_it_sends_by_the_workload_that_got_it(tmp_path: Path) -> None:
    said = counted(tmp_path, "istio", {}, {}, {"code": 500})
    own = ('reporter="source"', 'destination_workload="shop-candidate"', 'destination_version="2.0"')
    assert series(said, "istio_requests_total", *own, 'response_code="200"') == [2]
    assert series(said, "istio_requests_total", *own, 'response_code="500"') == [1]
    assert series(said, "istio_requests_total", 'reporter="destination"') == [2, 1]
    assert series(
        said, "istio_requests_total", *own, 'destination_service="shop.shop.svc.cluster.local"'
    ) == [2, 1]


def test_istio_knows_no_workload_of_what_reached_none_and_no_copy_at_the_source(tmp_path: Path) -> None:
    said = counted(tmp_path, "istio", NOWHERE, {"kind": "mirror"})
    assert series(said, "istio_requests_total", 'reporter="source"') == [1]
    assert series(said, "istio_requests_total", 'destination_workload="unknown"', 'response_flags="UH"') == [
        1
    ]
    assert series(said, "istio_requests_total", 'reporter="destination"', 'workload="shop-candidate"') == [1]


def test_nginx_counts_a_canary_under_the_main_service(tmp_path: Path) -> None:
    main = {"cluster": "ingress|shop|web|shop-blue|80|"}
    beside = {"cluster": "ingress|shop|web|shop-blue|80|shop-shop-candidate-80"}
    said = counted(tmp_path, "ingress", main, beside, beside)
    name = "nginx_ingress_controller_requests"
    assert series(said, name, 'service="shop-blue"', 'canary=""', 'status="200"') == [1]
    assert series(said, name, 'service="shop-blue"', 'canary="shop-shop-candidate-80"') == [2]


def test_servers_count_what_they_answer_and_copies_too(tmp_path: Path) -> None:
    served: dict[str, object] = {"cluster": "service|shop|shop|80"}
    said = counted(tmp_path, "service", served, served | {"kind": "mirror"}, served | NOWHERE)
    own = ('deployment="shop-candidate"', 'version="2.0"', 'service="shop"', 'code="200"')
    assert series(said, "http_requests_total", *own) == [2]
    assert len(series(said, "http_requests_total")) == 1


def test_buckets_hold_all_that_took_no_longer(tmp_path: Path) -> None:
    lines = [{"cluster": "service|shop|shop|80", "duration": took} for took in (0, 5, 12, 99_999)]
    said = counted(tmp_path, "service", *lines)
    found = series(said, "http_request_duration_seconds_bucket")
    assert found[:4] == [2, 2, 3, 3]
    assert found[-2:] == [3, 4]
    assert re.search(r'le="0.005"} 2$', "\n".join(said), re.MULTILINE)
    assert len(found) == len(BOUNDS) + 1


@pytest.mark.parametrize(("preset", "kind"), [("istio", "istio"), ("nginx", "ingress"), ("http", "service")])
def test_names_are_those_that_are_read(preset: str, kind: str) -> None:
    assert SHAPES[kind].requests == PRESETS[preset].requests
    assert f"{SHAPES[kind].durations}_bucket" == PRESETS[preset].latency
    assert SHAPES[kind].unit == PRESETS[preset].unit


@pytest.fixture
def exporter(mesh: Mesh, free_port: Callable[[], int]) -> Iterator[Exporter]:
    """Of the mesh."""
    with Exporter(mesh, free_port()) as running:
        yield running


def test_the_log_is_followed_and_counters_only_grow(mesh: Mesh, shop: Shop, exporter: Exporter) -> None:
    port = int(exporter.address.partition(":")[2])
    mesh.await_served(shop.split(v1=1))
    for total in (10, 20):
        for _ in range(10):
            ask(mesh.entries[0].port, "/?code=503")
        await_that(lambda: len(lines_in(mesh.log)) == total, what="log")  # noqa: B023 - asked at once
        said = look(port, "/metrics")[1].splitlines()
        assert series(said, "istio_requests_total", 'reporter="source"', 'response_code="503"') == [total]
    exporter.is_down = True
    assert look(port, "/metrics")[0] == 503


def test_a_real_prometheus_scrapes_it(
    mesh: Mesh, shop: Shop, exporter: Exporter, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    if mesh_prometheus.program() is None:
        pytest.skip("prometheus: found none on PATH, expected the server's program")
    mesh.await_served(shop.put(virtual_service("shop", {"route": [to("shop", "v2")]})))
    for _ in range(25):
        ask(mesh.entries[0].port)
    port = free_port()
    query = 'istio_requests_total{reporter="source",destination_workload="shop-v2"}'
    with mesh_prometheus.Prometheus(tmp_path / "prometheus", port, [exporter.address]) as running:
        assert running.url == f"http://127.0.0.1:{port}"

        def value() -> list[str]:
            found = json.loads(look(port, f"/api/v1/query?query={quote(query)}")[1])["data"]["result"]
            return [one["value"][1] for one in found]

        assert await_that(value, 30, "a sample") == ["25"]
