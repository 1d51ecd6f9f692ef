"""What the data plane does, seen from outside: Envoy's admin interface, processes, their answers.

Nothing here asks Davy or reads what it writes of itself.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import quote

import psutil

SLOTS = "blue|green|candidate|baseline"
LOOKS = 1 / 20
"""Seconds between two looks at Envoy."""
CENSUSES = 1 / 4
"""Seconds between two looks at the processes."""
LONGEST = 580
"""Seconds after which a recorder stops by itself."""


@dataclass(frozen=True)
class Look:
    """What Envoy did with one service at one moment.

    Attributes:
        at: Epoch seconds, just before Envoy was asked.
        split: Weight by slot, as it is served.
        hosts: By slot and port, whether Envoy holds the replica for healthy.
    """

    at: float
    split: Mapping[str, int]
    hosts: Mapping[str, Mapping[int, bool]]

    def healthy(self, slot: str) -> int:
        """How many healthy replicas Envoy sees in *slot*."""
        return sum(self.hosts.get(slot, {}).values())


@dataclass(frozen=True)
class Census:
    """The processes of one service at one moment: by port, the version, and whether it says it is well."""

    at: float
    versions: Mapping[int, str]
    well: Mapping[int, bool]


class Recorder:
    """Looks at Envoy and at the processes, each in a thread, until it is left."""

    def __init__(self, envoy_port: int, folder: Path, services: Collection[str]) -> None:
        self._port = envoy_port
        self._services = services
        names = "|".join(services)
        shop = rf"shop\.py --port (\d+) --version (\S+) --database {folder}/({names})\.sqlite$"
        self._shop = re.compile(shop)
        self._over = Event()
        self.looks: dict[str, list[Look]] = defaultdict(list)
        self.censuses: dict[str, list[Census]] = defaultdict(list)
        self._threads = [
            Thread(target=self._repeat, args=(self._look, LOOKS)),
            Thread(target=self._repeat, args=(self._count, CENSUSES)),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, see: Callable[[], None], pause: float) -> None:
        end = time.monotonic() + LONGEST
        while not self._over.wait(pause) and time.monotonic() < end:
            with suppress(OSError, HTTPException, ValueError):  # what cannot be seen is not recorded
                see()

    def _look(self) -> None:
        names = "|".join(self._services)
        at = time.time()
        routes = self._ask(f"/config_dump?resource=dynamic_route_configs&name_regex=^({names})$")
        splits = {served["route_config"]["name"]: _split(served) for served in routes.get("configs", [])}
        clusters = self._ask(f"/clusters?format=json&filter=^({names})/({SLOTS})$").get(
            "cluster_statuses", []
        )
        hosts: dict[str, dict[str, dict[int, bool]]] = defaultdict(dict)
        for cluster in clusters:
            service, _, slot = cluster["name"].partition("/")
            hosts[service][slot] = _hosts(cluster)
        for service, split in splits.items():
            self.looks[service].append(Look(at, split, hosts[service]))

    def _ask(self, path: str) -> dict[str, Any]:
        status, text, _ = ask(self._port, quote(path, safe="/?=&^$()|"))
        found: dict[str, Any] = json.loads(text) if status == 200 else {}
        return found

    def _count(self) -> None:
        at = time.time()
        found: dict[str, dict[int, str]] = {service: {} for service in self._services}
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if shop := self._shop.search(words):
                port, version, service = shop.groups()
                found[service][int(port)] = version
        for service, versions in found.items():
            self.censuses[service].append(Census(at, versions, {port: _is_well(port) for port in versions}))


def ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
    """One request to 127.0.0.1: status, body, headers (lower case).

    Raises:
        OSError: No answer; not retried.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def _split(served: dict[str, Any]) -> dict[str, int]:
    """The weights of the last route, which is the one that draws; none before the first version."""
    action = served["route_config"]["virtual_hosts"][0]["routes"][-1].get("route", {})
    clusters = action.get("weighted_clusters", {}).get("clusters", [])
    return {cluster["name"].partition("/")[2]: cluster.get("weight", 0) for cluster in clusters}


def _hosts(cluster: dict[str, Any]) -> dict[int, bool]:
    bad = ("failed_active_health_check", "pending_active_hc")
    return {
        host["address"]["socket_address"]["port_value"]: not any(
            host["health_status"].get(flag) for flag in bad
        )
        for host in cluster.get("host_statuses", [])
    }


def _is_well(port: int) -> bool:
    try:
        return ask(port, "/health")[0] == 200
    except (OSError, HTTPException):
        return False
