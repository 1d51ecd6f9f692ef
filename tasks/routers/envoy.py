"""Envoy: the embedded proxy, one for all services, told by files what to do.

A write replaces a file and returns once Envoy's admin interface shows that it is served.
What Envoy reads survives Envoy: started again, it goes on with the same routes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.model import Address, Change, Lease, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.routers import envoy_admin as admin
from tasks.routers import envoy_files as files
from tasks.routers.envoy_config import (
    Json,
    definition,
    digest_of,
    endpoints,
    endpoints_file,
    route_file,
)
from tasks.routers.envoy_needs import WATCHES, refuse_ports, refuse_watches
from tasks.routers.envoy_routes import routes_of, split_of

_AT_ONCE = timedelta(milliseconds=300)
"""Within this time Envoy serves what was written, unless it refuses it or is very busy."""
_TAKE_UP = timedelta(seconds=2)
"""How long Envoy may take at most."""
_SETTLE = timedelta(milliseconds=50)
"""How long a worker of Envoy may take to hear of new routes from its main thread."""


class Envoy:
    """Splits one service's requests; see `tasks.routers.base.Router`."""

    def __init__(self, service: ServiceFile) -> None:
        self._service = service
        self._name = service.service

    @property
    def asks_proxies(self) -> bool:
        """Envoy's admin interface says what it serves."""
        return True

    def changes(self) -> tuple[Change, ...]:
        """See `Router.changes`; its files are Davy's own."""
        return ()

    def give_back(self, lease: Lease) -> bool:
        """See `Router.give_back`; nothing is anybody else's."""
        del lease
        return True

    def preview_url(self) -> str | None:
        """See `Router.preview_url`."""
        port = self._service.envoy.preview_port
        return f"http://127.0.0.1:{port}" if port else None

    def check(self) -> None:
        """See `Router.check`.

        Raises:
            PermanentError: Envoy could not watch the service's files; not retried.
        """
        refuse_ports(self._service)
        if self._name not in files.definitions():
            refuse_watches(WATCHES)

    def register(self, lease: Lease) -> None:
        """Make the service known to Envoy: listeners, and three clusters per slot.

        Nothing changes where it is known already with the same settings. Until the first
        `write` each request is answered with 503.

        Raises:
            InputError: A port is in use or is another service's; not retried.
            TransientError: Envoy does not answer, or did not take it up yet; retried.
            PermanentError: Envoy refuses it; not retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        lease.check()
        folder, log = files.epoch_folder(self._name, lease), admin.log_size()
        known = files.definitions().get(self._name)
        wanted = definition(self._service, files.service_folder(self._name), admin.log_path().parent)
        if wanted != known:
            refuse_ports(self._service)
        if known is None:
            refuse_watches(WATCHES)
        self._write_missing(folder, lease)
        files.define(folder, wanted)
        try:
            self._wait_registered(wanted, log, lease)
        except PermanentError:
            lease.check()
            files.define(folder, known)
            raise
        lease.check()

    def live(self) -> Split | None:
        """The split that Envoy serves now; None before the service's first one.

        Raises:
            TransientError: Envoy does not answer; retried.
        """
        served = admin.routes(self._name).get(self._name)
        return split_of(served["route_config"]) if served else None

    def write(self, traffic: Traffic, lease: Lease) -> Split:
        """Ask for *traffic*; return once Envoy serves exactly that.

        Raises:
            TransientError: Asked for but not served yet; retried.
            PermanentError: Envoy refuses it and goes on with what it had, or *traffic*
                reaches a slot without replicas; not retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        lease.check()
        folder, log = files.epoch_folder(self._name, lease), admin.log_size()
        self._refuse_empty(traffic, folder)
        configs = routes_of(self._service, traffic)
        known = {name: files.read(folder / route_file(name)) for name in configs}
        wanted = {name: files.renewed(known[name], config, lease) for name, config in configs.items()}
        if not self._serves(wanted):
            self._put({route_file(name): content for name, content in wanted.items()}, lease)
        try:
            self._wait_served(wanted, log, lease)
        except PermanentError:
            self._put({route_file(name): content for name, content in known.items()}, lease)
            raise
        lease.check()
        return traffic.split

    def publish(self, slot: Slot, addresses: Collection[Address], lease: Lease) -> None:
        """Say where *slot*'s replicas are: exactly these.

        Returns once Envoy itself finds each of them healthy. Replicas that go are kept
        until then, so that a swap leaves no moment without a replica; then they get no more
        requests, and the ones they have may end within the fleet's ``drain``.

        Raises:
            TransientError: Envoy does not answer, or does not find all of them healthy
                yet, and those that were to go are still there; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        lease.check()
        wanted = frozenset(addresses)
        known = frozenset(files.published(files.epoch_folder(self._name, lease), slot))
        if leaving := known - wanted:
            if wanted:
                self._publish(slot, known | wanted, wanted, lease)
            self._publish(slot, known | wanted, wanted, lease, draining=leaving)
            self._drain_at(slot, leaving)
        self._publish(slot, wanted, wanted, lease)

    def published(self, slot: Slot) -> tuple[Address, ...]:
        """Where *slot*'s replicas are, as last published; sorted."""
        return files.published(files.service_folder(self._name) / "current", slot)

    def drain(self, slot: Slot, within: timedelta) -> bool:
        """Wait until no request is in flight on *slot*; False when time is up first.

        Raises:
            TransientError: Envoy does not answer; retried.
        """

        def idle() -> bool:
            if admin.in_flight(self._name, slot):
                return False
            time.sleep(_SETTLE.total_seconds())
            return not admin.in_flight(self._name, slot)

        return admin.wait_for(idle, bool, within)

    def _refuse_empty(self, traffic: Traffic, folder: Path) -> None:
        """No request goes to a slot that has no replica."""
        for slot in Slot:
            if traffic.reaches(slot) and not files.published(folder, slot):
                msg = (
                    f"{self._name}/{slot}: found no published replica, expected one before requests go there"
                )
                raise PermanentError(msg)

    def _serves(self, wanted: Mapping[str, Json]) -> bool:
        served = admin.routes(self._name)
        return all(
            name in served and served[name].get("version_info") == content["version_info"]
            for name, content in wanted.items()
        )

    def _wait_served(self, wanted: Mapping[str, Json], log: int, lease: Lease) -> None:
        """Wait for Envoy; where it takes long, let it read again and look whether it refuses."""
        if admin.wait_for(lambda: self._serves(wanted), bool, _AT_ONCE):
            return
        lease.check()
        before = admin.refused_routes(self._name)
        files.poke(self._name)

        def answered() -> bool:
            return self._serves(wanted) or admin.refused_routes(self._name) > before

        admin.wait_for(answered, bool, _TAKE_UP)
        lease.check()
        if self._serves(wanted):
            return
        if admin.refused_routes(self._name) > before:
            msg = f"{self._name}: Envoy refused the routes ({admin.refusal_since(log)}), expected it to serve them"
            raise PermanentError(msg)
        msg = f"{self._name}: Envoy does not serve the new routes yet, expected it to"
        raise TransientError(msg)

    def _put(self, contents: Mapping[str, Json | None], lease: Lease) -> None:
        """Replace files of this lease's epoch, by name, and let Envoy read them."""
        folder = files.epoch_folder(self._name, lease)
        lease.check()
        try:
            for name, content in contents.items():
                files.replace(folder / name, content)
            files.poke(self._name)
        except TransientError:
            lease.check()  # an old epoch's folder goes away
            raise

    def _drain_at(self, slot: Slot, addresses: frozenset[Address]) -> None:
        """Wait until *addresses* have no request in flight, or the fleet's ``drain`` is over."""
        within = self._service.local.drain
        time.sleep(_SETTLE.total_seconds())
        admin.wait_for(lambda: admin.in_flight_at(self._name, slot, addresses), lambda left: not left, within)

    def _publish(
        self,
        slot: Slot,
        known: frozenset[Address],
        healthy: frozenset[Address],
        lease: Lease,
        draining: frozenset[Address] = frozenset(),
    ) -> None:
        """Let Envoy know exactly *known*, and wait until those in *healthy* are."""
        before = files.read(files.epoch_folder(self._name, lease) / endpoints_file(slot))
        content = files.renewed(before, endpoints(self._name, slot, sorted(known), draining), lease)

        def done(hosts: admin.Hosts) -> bool:
            return hosts.known == known and healthy <= hosts.healthy

        if content != before or not done(self._hosts(slot)):
            self._put({endpoints_file(slot): content}, lease)
        hosts = admin.wait_for(lambda: self._hosts(slot), done, self._checked_within())
        lease.check()
        if not done(hosts):
            found = f"{len(hosts.healthy & healthy)} of {len(hosts.known)}"
            msg = f"{self._name}/{slot}: Envoy finds {found} replicas healthy, expected {len(healthy)} of {len(known)}"
            raise TransientError(msg)

    def _hosts(self, slot: Slot) -> admin.Hosts:
        return admin.hosts(self._name, slot)

    def _checked_within(self) -> timedelta:
        """Time for Envoy to take a file up and to ask a replica twice."""
        health = self._service.local.health
        return _TAKE_UP + 2 * (health.interval + health.timeout)

    def _write_missing(self, folder: Path, lease: Lease) -> None:
        """Envoy accepts no cluster or listener whose files are not there."""
        resources = {endpoints_file(slot): endpoints(self._name, slot, ()) for slot in Slot}
        resources |= {route_file(name): config for name, config in routes_of(self._service, None).items()}
        for name, resource in resources.items():
            if not (folder / name).exists():
                files.replace(folder / name, files.renewed(None, resource, lease))

    def _wait_registered(self, wanted: Json, log: int, lease: Lease) -> None:
        """Wait until Envoy uses exactly the clusters and listeners of a definition."""
        expected = {digest_of(resource) for kind in wanted.values() for resource in kind}

        def refused() -> str:
            found = admin.refused_listeners(self._name)
            return "; ".join(why for mark, why in found.items() if mark in expected)

        def answered() -> bool:
            return admin.active_digests(self._name) == expected or bool(refused())

        admin.wait_for(answered, bool, self._checked_within())
        lease.check()
        if admin.active_digests(self._name) == expected:
            return
        if why := refused() or admin.refusal_since(log):
            msg = f"{self._name}: Envoy refused its listeners or clusters ({why}), expected it to use them"
            raise PermanentError(msg)
        msg = f"{self._name}: Envoy does not use its listeners and clusters yet, expected it to"
        raise TransientError(msg)
