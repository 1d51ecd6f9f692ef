"""What Envoy says of itself: its admin interface and its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TypeVar

import httpx

from tasks.domain.errors import TransientError
from tasks.domain.model import Address, Slot
from tasks.domain.settings import settings
from tasks.routers.envoy_config import Json, address_of, digest_of

Answer = TypeVar("Answer")

_FIRST_PAUSE = timedelta(milliseconds=1)
_LONGEST_PAUSE = timedelta(milliseconds=50)
_LOGGED = timedelta(seconds=2)
_LOG_LINE = re.compile(r"\n\[\d{4}-")
_REFUSED = "update rejected: "
_WAITING = ("failed_active_health_check", "pending_active_hc")


@dataclass(frozen=True)
class Hosts:
    """The replicas that one cluster knows, and those of them that it holds for healthy."""

    known: frozenset[Address] = field(default_factory=frozenset)
    healthy: frozenset[Address] = field(default_factory=frozenset)


def routes(service: str) -> dict[str, Json]:
    """What Envoy serves, by name (the users' routes and the preview's): version and configuration.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    found = _dump("dynamic_route_configs", f"^{service}(/preview)?$")
    return {served["route_config"]["name"]: served for served in found}


def refused_routes(service: str) -> int:
    """How often Envoy refused routes of the service since it started.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    return sum(_stats(rf"^http\.{service}(/preview)?\.rds\..*\.update_rejected$").values())


def active(service: str) -> list[Json]:
    """The service's clusters and listeners that Envoy uses.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    clusters = _dump("dynamic_active_clusters", f"^{service}/.*$")
    listeners = _dump("dynamic_listeners", f"^{service}(/preview)?$")
    return [
        *(found["cluster"] for found in clusters),
        *(found["active_state"]["listener"] for found in listeners if "active_state" in found),
    ]


def active_digests(service: str) -> set[str]:
    """The digests of the service's clusters and listeners that Envoy uses."""
    return {digest_of(resource) for resource in active(service)}


def refused_listeners(service: str) -> dict[str, str]:
    """Why Envoy refused listeners of the service, by their digest.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    found = _dump("dynamic_listeners", f"^{service}(/preview)?$")
    errors = [state["error_state"] for state in found if "error_state" in state]
    return {digest_of(error["failed_configuration"]): error["details"] for error in errors}


def hosts(service: str, slot: Slot) -> Hosts:
    """What the slot's own cluster knows; the two before it have no replicas of their own.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    return _hosts(_cluster(service, slot))


def in_flight(service: str, slot: Slot) -> int:
    """Requests that the slot is working on or is about to; the clusters before it count none.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    name = rf"^cluster\.{service}/{slot}\.upstream_rq_(pending_)?active$"
    return sum(_stats(name).values())


def in_flight_at(service: str, slot: Slot, addresses: Collection[Address]) -> int:
    """Requests that the slot's replicas at *addresses* are working on.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    return sum(
        int(stat.get("value", 0))
        for host in _cluster(service, slot).get("host_statuses", [])
        if address_of(host["address"]) in addresses
        for stat in host["stats"]
        if stat["name"] == "rq_active"
    )


def log_path() -> Path:
    """Where Envoy writes its warnings."""
    return settings().root / "logs" / "envoy.log"


def log_size() -> int:
    """Bytes in Envoy's log, for `refusal_since`."""
    return log_path().stat().st_size if log_path().exists() else 0


def refusal_since(offset: int) -> str:
    """Why Envoy last refused a file, from its log beyond *offset* bytes; empty if it does not say.

    Waits for the log, which Envoy writes a moment later.
    """
    return wait_for(lambda: _refusal(offset), bool, _LOGGED)


def wait_for(ask: Callable[[], Answer], done: Callable[[Answer], bool], within: timedelta) -> Answer:
    """Ask until the answer is the one waited for or time is up; gives the last answer.

    Raises:
        TransientError: Envoy does not answer; retried.
    """
    end, pause = time.monotonic() + within.total_seconds(), _FIRST_PAUSE
    while not done(answer := ask()) and time.monotonic() < end:
        time.sleep(pause.total_seconds())
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return answer


def _refusal(offset: int) -> str:
    if not log_path().exists():
        return ""
    text = log_path().read_bytes()[offset:].decode(errors="replace")
    refused = _LOG_LINE.split(text.rpartition(_REFUSED)[2])[0] if _REFUSED in text else ""
    # Envoy may put the whole resource before its reason.
    return refused.rpartition("\n: ")[2].strip()


def _cluster(service: str, slot: Slot) -> Json:
    """The state of the slot's own cluster; empty when there is none."""
    found = _get("/clusters", format="json", filter=f"^{service}/{slot}$").get("cluster_statuses", [])
    state: Json = found[0] if found else {}
    return state


def _hosts(cluster: Json) -> Hosts:
    known = {address_of(host["address"]): host["health_status"] for host in cluster.get("host_statuses", [])}
    healthy = (address for address, health in known.items() if not any(health.get(flag) for flag in _WAITING))
    return Hosts(frozenset(known), frozenset(healthy))


def _dump(resource: str, name: str) -> list[Json]:
    found: list[Json] = _get("/config_dump", resource=resource, name_regex=name).get("configs", [])
    return found


def _stats(pattern: str) -> dict[str, int]:
    found = _get("/stats", format="json", filter=pattern).get("stats", [])
    return {stat["name"]: stat["value"] for stat in found if "name" in stat}


def _get(path: str, **query: str) -> Json:
    """The answer; an empty one where Envoy has nothing of the kind yet (404)."""
    url = f"http://127.0.0.1:{settings().envoy_port}{path}"
    try:
        answer = _client().get(url, params=query)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        content: Json = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        msg = f"envoy: {url} gave {error or type(error).__name__}, expected an answer"
        raise TransientError(msg) from error
    return content


@cache
def _client() -> httpx.Client:
    """No proxy of the environment between, and no open connection that a fork would share."""
    return httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))
