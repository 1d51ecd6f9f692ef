"""The rig's mesh serves what stands in its source, with a real Envoy, and no change of it drops a request."""

from __future__ import annotations

import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Event

import pytest

from tests.rig.cluster.addresses import Addresses, local_address
from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.mesh_backends import Backend, saying, serving
from tests.rig.cluster.mesh_envoy import Refused
from tests.rig.cluster.mesh_log import lines_in
from tests.rig.cluster.mesh_objects import destination_rule, endpoints, pod, service, to, virtual_service
from tests.rig.cluster.mesh_source import DictSource
from tests.rig.cluster.translate_base import Json
from tests.rig.stack import await_that

VERSIONS = ("v1", "v2")


class Shop:
    """A Service with a pod for each version, and its objects."""

    def __init__(self, addresses: Addresses) -> None:
        self.pods = {name: pod(f"shop-{name}", addresses.take(), version=name) for name in VERSIONS}
        self.backends: dict[str, Backend] = {}
        self.rule = destination_rule("shop", *VERSIONS)
        slices = endpoints("shop", [*self.pods.values()])
        self.source = DictSource([service("shop"), slices, self.rule, *self.pods.values()])

    @contextmanager
    def open(self) -> Iterator[None]:
        """Its pods answer until this is left."""
        with ExitStack() as stack:
            for name, one in self.pods.items():
                address = local_address(one["status"]["podIP"])
                self.backends[name] = stack.enter_context(serving(address, name))
            yield

    def split(self, **weights: int) -> Json:
        """Set the weights; the VirtualService as it then stands."""
        routes = [to("shop", name, weight) for name, weight in weights.items()]
        return self.put(virtual_service("shop", {"route": routes}))

    def put(self, one: Json) -> Json:
        """Create or replace an object; as it then stands."""
        self.source.put(one)
        about = one["metadata"]
        return self.source.get(one["kind"], about["namespace"], about["name"])


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Addresses() as addresses:
        made = Shop(addresses)
        with made.open():
            yield made


@pytest.fixture
def mesh(shop: Shop, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Mesh]:
    """With an Istio entry first, and one by the Service alone."""
    entries = [Entry(free_port(), kind, "shop", "shop") for kind in ("istio", "service")]
    with Mesh(shop.source, tmp_path / "mesh", entries, admin_port=free_port()) as running:
        yield running


def ask(port: int, path: str = "/", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, version and headers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        answer.read()
        return (
            answer.status,
            answer.getheader("x-version", ""),
            {k.lower(): v for k, v in answer.getheaders()},
        )
    finally:
        connection.close()


def asked(port: int, times: int = 60) -> Counter[tuple[int, str]]:
    """How often each status and version came back."""
    return Counter(ask(port)[:2] for _ in range(times))


def test_a_split_is_served_as_soon_as_it_says_so(mesh: Mesh, shop: Shop) -> None:
    port = mesh.entries[0].port
    assert set(asked(port)) == {(200, "v1"), (200, "v2")}
    for only in ("v1", "v2"):
        mesh.await_served(shop.split(**{name: 100 * (name == only) for name in VERSIONS}))
        assert set(asked(port)) == {(200, only)}
    mesh.await_served(shop.split(v1=75, v2=25))
    assert 60 < asked(port, 400)[200, "v2"] < 140


def test_a_hundred_changes_under_load_fail_no_request(mesh: Mesh, shop: Shop) -> None:
    over = Event()

    def load() -> Counter[int]:
        seen: Counter[int] = Counter()
        connection = HTTPConnection("127.0.0.1", mesh.entries[0].port, timeout=10)
        while not over.is_set():
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            seen[answer.status] += 1
        connection.close()
        return seen

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load) for _ in range(4)]
        for number in range(100):
            subsets = VERSIONS if number % 4 else VERSIONS[:1]
            shop.source.put(destination_rule("shop", *subsets))
            last = shop.split(**dict.fromkeys(subsets, 1 + number * 7 % 50))
            time.sleep(0.03)
        mesh.await_served(last)
        over.set()
        seen = sum((one.result() for one in loads), Counter())
    assert set(seen) == {200}
    assert seen[200] > 500


def test_a_subset_or_service_that_is_not_there_gives_503(mesh: Mesh, shop: Shop) -> None:
    mesh.await_served(shop.put(virtual_service("shop", {"route": [to("shop", "v9")]})))
    assert ask(mesh.entries[0].port)[0] == 503
    mesh.await_served(shop.put(virtual_service("shop", {"route": [to("nobody")]})))
    assert ask(mesh.entries[0].port)[0] == 503
    await_that(lambda: len(lines_in(mesh.log)) == 2, what="log")
    assert [line.flags for line in lines_in(mesh.log)] == ["NC", "NC"]


def test_a_subset_whose_pods_are_gone_gives_503(mesh: Mesh, shop: Shop) -> None:
    mesh.await_served(shop.split(v2=1))
    mesh.await_served(shop.put(endpoints("shop", [shop.pods["v1"]])))
    assert ask(mesh.entries[0].port)[0] == 503


@pytest.mark.parametrize("gone", ["endpoint", "subset"])
def test_what_is_in_flight_outlives_its_endpoint_or_subset(mesh: Mesh, shop: Shop, gone: str) -> None:
    mesh.await_served(shop.split(v2=1))
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(ask, mesh.entries[0].port, "/?sleep=1.5") for _ in range(8)]
        await_that(lambda: len(shop.backends["v2"].seen) == 8, what="requests in flight")
        if gone == "subset":
            mesh.await_served(shop.split(v1=1))
            mesh.await_served(shop.put(destination_rule("shop", "v1")))
        else:
            mesh.await_served(shop.put(endpoints("shop", [shop.pods["v1"]])))
        assert [one.result()[:2] for one in slow] == [(200, "v2")] * 8


def test_a_pod_that_nobody_listens_for_is_tried_elsewhere(mesh: Mesh, shop: Shop) -> None:
    """As Istio's default, and any client of a Service, does on a connection that is refused."""
    dead = pod("shop-v1", shop.pods["v1"]["status"]["podIP"].rpartition(".")[0] + ".251", version="v1")
    mesh.await_served(shop.put(endpoints("shop", [shop.pods["v1"], dead])))
    assert set(asked(mesh.entries[0].port, 40)) == {(200, "v1")}


def test_copies_reach_the_mirror_and_no_user(mesh: Mesh, shop: Shop) -> None:
    mirrored = {"route": [to("shop", "v1")], "mirror": to("shop", "v2")["destination"]}
    mesh.await_served(shop.put(virtual_service("shop", mirrored)))
    answers = Counter(ask(mesh.entries[0].port, "/?code=200", host="shop")[:2] for _ in range(20))
    assert answers == {(200, "v1"): 20}
    await_that(lambda: len(lines_in(mesh.log)) == 40, what="log")
    kinds = Counter((line.kind, line.version, line.code) for line in lines_in(mesh.log))
    assert kinds == {("", "v1", 200): 20, ("mirror", "v2", 200): 20}
    assert set(shop.backends["v2"].seen) == {"shop-shadow"}


def test_a_tester_is_sent_to_his_version_and_keeps_it_by_cookie(mesh: Mesh, shop: Shop) -> None:
    cookie = {"response": {"add": {"Set-Cookie": "lane=v2; Path=/"}}}
    tester = {
        "match": [
            {"headers": {"end-user": {"exact": "jason"}}},
            {"headers": {"cookie": {"regex": ".*lane=v2.*"}}},
        ],
        "route": [to("shop", "v2", headers=cookie)],
    }
    mesh.await_served(shop.put(virtual_service("shop", tester, {"route": [to("shop", "v1")]})))
    _, version, headers = ask(mesh.entries[0].port, end_user="jason")
    assert (version, headers["set-cookie"]) == ("v2", "lane=v2; Path=/")
    assert ask(mesh.entries[0].port, cookie="a=b; lane=v2")[1] == "v2"
    assert ask(mesh.entries[0].port)[1] == "v1"


def test_a_service_sends_an_equal_part_to_every_ready_pod(mesh: Mesh, shop: Shop) -> None:
    mesh.await_served(shop.split(v1=1))
    seen = asked(mesh.entries[1].port, 400)
    assert 150 < seen[200, "v1"] < 250
    assert seen[200, "v1"] + seen[200, "v2"] == 400


NOT_TRANSLATED = {"route": [to("shop", "v2")], "fault": {"abort": {"httpStatus": 500}}}
NOT_TAKEN = {"match": [{"uri": {"regex": "("}}], "route": [to("shop", "v2")]}


@pytest.mark.parametrize(("route", "reason"), [(NOT_TRANSLATED, "fault is not"), (NOT_TAKEN, "missing )")])
def test_what_is_refused_changes_nothing(mesh: Mesh, shop: Shop, route: Json, reason: str) -> None:
    """Be it by a translator or by Envoy."""
    mesh.await_served(shop.split(v1=1))
    bad = shop.put(virtual_service("shop", route))
    with pytest.raises(Refused, match=re.escape(reason)):
        mesh.await_served(bad)
    assert set(asked(mesh.entries[0].port, 10)) == {(200, "v1")}
    assert reason in mesh.take_refusals()[-1].message
    mesh.await_served(shop.split(v2=1))
    assert set(asked(mesh.entries[0].port, 10)) == {(200, "v2")}


def test_a_refusal_that_nobody_asks_for_fails_at_the_end(
    shop: Shop, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    shop.source.put(virtual_service("shop", NOT_TRANSLATED))
    entry = Entry(free_port(), "istio", "shop", "shop")
    mesh = Mesh(shop.source, tmp_path / "mesh", [entry], admin_port=free_port())
    mesh.__enter__()
    with pytest.raises(Refused, match="fault is not"):
        mesh.__exit__(None)


def test_connections_are_split_by_weight(shop: Shop, tmp_path: Path, free_port: Callable[[], int]) -> None:
    entry = Entry(free_port(), "istio", "shop", "echo", 9000)
    with Addresses() as addresses, ExitStack() as stack:
        pods = [pod(f"echo-{name}", addresses.take(), version=name) for name in VERSIONS]
        for one, name in zip(pods, VERSIONS, strict=True):
            stack.enter_context(saying(local_address(one["status"]["podIP"]), name))
        tcp = [{"route": [to("echo", "v1", 80), to("echo", "v2", 20)]}]
        shop.source.put(
            service("echo", {"name": "tcp", "port": 9000}),
            endpoints("echo", pods, name="tcp"),
            destination_rule("echo", *VERSIONS),
            *pods,
            virtual_service("echo", tcp=tcp),
        )
        stack.enter_context(Mesh(shop.source, tmp_path / "mesh", [entry], admin_port=free_port()))
        said: Counter[bytes] = Counter()
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", entry.port), timeout=5) as connection:
                said[connection.recv(10)] += 1
    assert 15 < said[b"v2"] < 70
    assert said[b"v1"] + said[b"v2"] == 200
