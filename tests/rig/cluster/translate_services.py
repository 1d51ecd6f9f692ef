"""Services, their endpoints and their pods, as they stand in the API server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tests.rig.cluster.translate_base import TYPE, Json, Objects, Upstream

SERVICE_OF_SLICE = "kubernetes.io/service-name"
DOMAIN = "svc.cluster.local"
_UNLIMITED = 1_000_000
_HTTP2 = ("grpc", "http2", "h2c", "kubernetes.io/h2c", "grpc-web")
_OPAQUE = ("tcp", "mongo", "mysql", "redis")
_ENCRYPTED = ("tls", "https")

Endpoint = tuple[str, int]


def here(address: str) -> str:
    """Where on this machine the process listens that stands for the pod at *address*."""
    return "127." + address.partition(".")[2]


class Services:
    """What one look at the API server says of them; made once for each look, see `services_in`."""

    def __init__(self, objects: Objects) -> None:
        self._services = {_key(one): one for one in objects.get("Service", ())}
        self._pods = {_key(one): one for one in objects.get("Pod", ())}
        self._slices: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for one in objects.get("EndpointSlice", ()):
            service = (one["metadata"].get("labels") or {}).get(SERVICE_OF_SLICE, "")
            self._slices[one["metadata"].get("namespace", ""), service].append(one)

    def get(self, namespace: str, name: str) -> Json | None:
        """The Service, if there is one."""
        return self._services.get((namespace, name))

    def port(self, namespace: str, name: str, number: int | str | None) -> Json | None:
        """One of its ports, by number or name; the only one where *number* is None."""
        service = self.get(namespace, name)
        ports: list[Json] = (service or {}).get("spec", {}).get("ports") or []
        if number is None:
            return ports[0] if len(ports) == 1 else None
        return next((port for port in ports if number in (port["port"], port.get("name"))), None)

    def endpoints(
        self, namespace: str, name: str, port: Json, labels: Mapping[str, str] | None = None
    ) -> tuple[Endpoint, ...]:
        """Where its ready pods listen on this machine; only those with *labels*, where they are given."""
        found: set[Endpoint] = set()
        for one in self._slices[namespace, name]:
            numbers = [
                own["port"]
                for own in one.get("ports") or ()
                if (own.get("name") or "") == (port.get("name") or "") and own.get("port")
            ]
            for endpoint in one.get("endpoints") or ():
                if _is_ready(endpoint) and self._has_labels(namespace, endpoint, labels or {}):
                    found |= {
                        (here(address), number) for address in endpoint["addresses"] for number in numbers
                    }
        return tuple(sorted(found))

    def _has_labels(self, namespace: str, endpoint: Json, labels: Mapping[str, str]) -> bool:
        if not labels:
            return True
        target = endpoint.get("targetRef") or {}
        pod = self._pods.get((target.get("namespace", namespace), target.get("name", "")), {})
        return labels.items() <= (pod.get("metadata", {}).get("labels") or {}).items()


_last: tuple[Objects, Services] | None = None


def services_in(objects: Objects) -> Services:
    """The Services of a look; many entries ask for those of the same one."""
    global _last  # noqa: PLW0603 - the newest look is kept for the next entry
    last = _last
    if last is None or last[0] is not objects:
        _last = last = objects, Services(objects)
    return last[1]


def upstream(name: str, endpoints: tuple[Endpoint, ...], port: Json, **options: object) -> Upstream:
    """A cluster as the products make it: all limits as good as off, HTTP/2 where the port speaks it."""
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    common: Json = {
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _UNLIMITED)]},
        "ignore_health_on_host_removal": True,
    }
    if protocol(port) == "http2":
        common["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return Upstream(name, endpoints, common | options)


def protocol(port: Json | None) -> str:
    """What a port speaks, ``http``, ``http2``, ``tcp`` or ``tls``, by appProtocol or the start of its name."""
    said = (port or {}).get("appProtocol") or ((port or {}).get("name") or "").partition("-")[0]
    if said in _HTTP2:
        return "http2"
    if said in _ENCRYPTED:
        return "tls"
    return "tcp" if said in _OPAQUE else "http"


def _key(one: Json) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _is_ready(endpoint: Json) -> bool:
    return (endpoint.get("conditions") or {}).get("ready") is not False
