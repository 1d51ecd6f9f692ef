"""What all translators share: what users enter by, what an entry becomes, and how to say no."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Objects = Mapping[str, Sequence[Json]]
"""By kind, what stands in the API server, as JSON has it."""

TYPE = "type.googleapis.com/envoy."

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class Unsupported(Exception):  # noqa: N818 - it reads as what it says of the field that it names
    """An object has something that is not translated, or that the real product would have refused."""


@dataclass(frozen=True)
class Entry:
    """Where users enter, and what decides where they are sent.

    Attributes:
        port: Where Envoy listens on 127.0.0.1.
        kind: Whose objects route: Istio's, Gateway API's, Ingresses, or none but the Service.
        namespace: Of the objects, and of the user's own proxy.
        host: Whom users call: a host name; a Service's name in ``namespace`` where there is no gateway.
        service_port: The port that users call it by, of the Service or of the gateway.
        gateway: NAME or NAMESPACE/NAME of the gateway by which they come; None for a sidecar's way.
    """

    port: int
    kind: Literal["istio", "gateway", "ingress", "service"]
    namespace: str
    host: str
    service_port: int = 80
    gateway: str | None = None

    @property
    def name(self) -> str:
        """What its listener is called."""
        return f"entry-{self.port}"


@dataclass(frozen=True)
class Upstream:
    """A cluster, as Envoy says.

    Attributes:
        endpoints: Addresses that exist on this machine, with their ports.
        options: What its Envoy cluster has beyond name and endpoints.
    """

    name: str
    endpoints: tuple[tuple[str, int], ...] = ()
    options: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Routing:
    """What an entry does.

    Attributes:
        routes: Envoy's, in order; for HTTP.
        chains: Filter chains, where the entry is no HTTP one; None where it is.
        upstreams: Those that exist of the ones that are named.
    """

    routes: tuple[Json, ...] = ()
    chains: tuple[Json, ...] | None = None
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)


def only_known(where: str, found: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse what would otherwise be ignored in silence.

    Raises:
        Unsupported: A field is not among the *known* ones; not retried.
    """
    if strange := sorted(set(found) - set(known)):
        msg = f"{where}: {', '.join(strange)} is not translated here, only {', '.join(sorted(known))}"
        raise Unsupported(msg)


def named(one: Json) -> str:
    """How an object is spoken of."""
    return f"{one.get('kind', '')} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}"


def oldest_first(found: Iterable[Json]) -> list[Json]:
    """By age, and by name where that is the same."""

    def key(one: Json) -> tuple[str, str, str]:
        about = one["metadata"]
        return about.get("creationTimestamp") or "", about.get("namespace", ""), about["name"]

    return sorted(found, key=key)


def seconds(where: str, text: str) -> float:
    """A duration as Go writes it, like ``1m30s`` or ``500ms``.

    Raises:
        Unsupported: It is none; not retried.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)", text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        msg = f"{where}: {text!r}, expected a duration like 10s"
        raise Unsupported(msg)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def duration(where: str, text: str) -> str:
    """The same as Envoy's JSON has it."""
    return f"{seconds(where, text):.9f}".rstrip("0").rstrip(".") + "s"


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host name fits one that may begin with ``*``."""
    pattern, host = pattern.lower(), host.lower()
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern == host


def millionths(percent: float) -> Json:
    """A share of requests, in percent, as Envoy draws it."""
    return {"default_value": {"numerator": int(round(percent * 10_000, 3)), "denominator": "MILLION"}}
