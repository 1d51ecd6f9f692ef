"""Who may change a service's routes, and what the proxy knows of services."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tasks.domain.errors import InputError, LeaseLostError, PermanentError, TransientError
from tasks.domain.model import Lease, Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.journal.lease import FileLease, take
from tasks.routers.envoy import Envoy
from tasks.routers.envoy_leave import unregister
from tests.tasks.routers.rig import Load, Proxy, Shop, ask, eventually, service_of


class Frozen:
    """A carrier that freezes right after a check of its lease and is taken over meanwhile.

    Args:
        checks: After how many checks it freezes.
    """

    def __init__(self, lease: FileLease, checks: int) -> None:
        self._lease = lease
        self._checks = checks
        self.epoch = lease.epoch
        self.release = lease.release
        self.successor: FileLease | None = None

    def check(self) -> None:
        """Pass, then lose the lease."""
        self._lease.check()
        self._checks -= 1
        if not self._checks:
            self.successor = take("shop", self.release, over=True)


def test_taking_the_lease_changes_nothing_for_users(shop: Shop) -> None:
    shop.shift(4000)
    take("shop", "first", over=True)
    assert shop.router.live() == shop.split(4000)
    assert shop.router.published(Slot.BLUE) == (shop.blue,)
    assert set(shop.versions(60)) == {"v1", "v2"}


@pytest.mark.parametrize("checks", [1, 2])
def test_carrier_that_was_taken_over_changes_no_split(shop: Shop, checks: int) -> None:
    stale: Lease = Frozen(shop.lease, checks)
    with pytest.raises(LeaseLostError):
        shop.router.write(Traffic(Split.all_to(Slot.CANDIDATE)), stale)
    assert shop.router.live() == Split.all_to(Slot.BLUE)
    assert shop.versions(50) == {"v1": 50}


@pytest.mark.parametrize("checks", [1, 2])
def test_carrier_that_was_taken_over_changes_no_endpoints(shop: Shop, checks: int) -> None:
    stale: Lease = Frozen(shop.lease, checks)
    with pytest.raises(LeaseLostError):
        shop.router.publish(Slot.BLUE, [], stale)
    assert shop.router.published(Slot.BLUE) == (shop.blue,)
    assert shop.versions(50) == {"v1": 50}


def test_successor_of_a_frozen_carrier_writes(shop: Shop) -> None:
    """What the stale carrier left in its folder, and its poke, do not come back."""
    stale = Frozen(shop.lease, 2)
    with pytest.raises(LeaseLostError):
        shop.router.write(Traffic(Split.all_to(Slot.CANDIDATE)), stale)
    assert stale.successor is not None
    shop.router.write(Traffic(shop.split(2000)), stale.successor)
    with pytest.raises(LeaseLostError):
        shop.shift(9000)
    assert shop.router.live() == shop.split(2000)


def test_register_again_keeps_routes_and_counters(shop: Shop, proxy: Proxy) -> None:
    shop.shift(3000)
    shop.versions(20)
    before = [(settings().routes / name).read_text() for name in ("cds.json", "lds.json")]
    shop.router.register(shop.lease)
    assert [(settings().routes / name).read_text() for name in ("cds.json", "lds.json")] == before
    total = [proxy.counter(f"cluster.shop/{slot}.upstream_rq_total") for slot in ("blue", "candidate")]
    assert sum(total) == 20
    assert shop.router.live() == shop.split(3000)


def test_same_write_again_touches_nothing(shop: Shop, proxy: Proxy) -> None:
    shop.shift(3000)
    path, stat = settings().routes / "shop" / "current" / "rds.json", "http.shop.rds.shop.update_attempt"
    before = (path.read_bytes(), proxy.counter(stat))
    shop.shift(3000)
    assert (path.read_bytes(), proxy.counter(stat)) == before


def test_new_settings_under_load_fail_no_request(shop: Shop) -> None:
    """Listener, clusters and their health checks are replaced while users ask."""
    with Load(shop.port) as load:
        for timeout in ("3s", "4s"):
            service = service_of("shop", shop.port, timeout=timeout, access_log=timeout == "3s")
            health = service.fleet.health.model_copy(update={"path": f"/health?{timeout}"})
            fleet = service.fleet.model_copy(update={"health": health})
            Envoy(service.model_copy(update={"fleet": fleet})).register(shop.lease)
            load.more(300)
    assert load.failures == []


def test_new_settings_of_a_service_take_effect(shop: Shop, free_port: Callable[[], int]) -> None:
    """The port moves and the preview goes; routes and replicas stay."""
    port = free_port()
    router = Envoy(service_of("shop", port))
    router.register(shop.lease)
    assert ask(port).text == "v1"
    for old in (shop.port, shop.preview_port):
        eventually(partial(_refuses, old), "the old port is closed")
    assert router.live() == Split.all_to(Slot.BLUE)


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_before_the_first_version_users_are_told(proxy: Proxy, free_port: Callable[[], int]) -> None:
    del proxy
    port = free_port()
    router = Envoy(service_of("fresh", port))
    assert router.live() is None
    lease = take("fresh", "first")
    router.register(lease)
    assert router.live() is None
    assert router.published(Slot.BLUE) == ()
    answer = ask(port)
    assert (answer.status, answer.text) == (503, "fresh: no version here yet\n")


def test_port_in_use_is_refused_by_name(proxy: Proxy) -> None:
    del proxy
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(InputError, match=f"router.port: found {port}, expected a free port"):
            Envoy(service_of("fresh", port)).register(take("fresh", "first"))
    assert not (settings().routes / "fresh" / "current" / "service.json").exists()


@pytest.mark.parametrize("field", ["port", "preview_port"])
def test_port_of_another_service_is_refused_by_name(
    shop: Shop, free_port: Callable[[], int], field: str
) -> None:
    ports = {"port": free_port(), field: shop.preview_port}
    with pytest.raises(InputError, match=f"router.{field}: .* a port that service 'shop' does not use"):
        Envoy(service_of("other", **ports)).register(take("other", "first"))


def test_listener_that_envoy_refuses_harms_no_other_service(
    shop: Shop, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is taken between the check and the listener, by a program that would share it."""
    monkeypatch.setattr("tasks.routers.envoy_needs._is_free", lambda _: True)
    lease = take("other", "first")
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        other = Envoy(service_of("other", int(taken.getsockname()[1])))
        with pytest.raises(PermanentError, match=r"other: Envoy refused .*Address already in use"):
            other.register(lease)
    assert shop.versions(5) == {"v1": 5}
    port = free_port()
    Envoy(service_of("other", port)).register(lease)
    assert ask(port).status == 503


def test_unregistered_service_is_gone_and_others_stay(shop: Shop, free_port: Callable[[], int]) -> None:
    port = free_port()
    other = Envoy(service_of("other", port))
    other.register(take("other", "first"))
    unregister("other")
    unregister("other")
    eventually(lambda: _refuses(port), "the port is closed")
    assert other.live() is None
    assert shop.versions(5) == {"v1": 5}


def test_frozen_holder_of_the_lock_delays_but_does_not_hang(shop: Shop, free_port: Callable[[], int]) -> None:
    with (settings().routes / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TransientError, match="found it locked for 3 s"):
            Envoy(service_of("shop", free_port())).register(shop.lease)
    assert shop.versions(5) == {"v1": 5}


def test_without_envoy_every_verb_says_so(home: Path, free_port: Callable[[], int]) -> None:
    del home
    router, lease = Envoy(service_of("shop", free_port())), take("shop", "first")
    for verb in (router.live, lambda: router.register(lease)):
        with pytest.raises(TransientError, match=r"envoy: http://127\.0\.0\.1:"):
            verb()
