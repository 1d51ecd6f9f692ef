"""A plain Service, as kube-proxy treats it: every ready endpoint gets an equal random part."""

from __future__ import annotations

from tests.rig.cluster.translate_base import Entry, Json, Objects, Routing
from tests.rig.cluster.translate_istio_tcp import chain
from tests.rig.cluster.translate_services import protocol, services_in, upstream

CONNECT_RETRIES: Json = {"retry_on": "connect-failure", "num_retries": 1}


def translate(entry: Entry, objects: Objects) -> Routing:
    """Where the Service's users are sent: connections where its port is called tcp, else requests.

    Nothing is tried again but what could not connect, which an endpoint that has just gone makes
    a client do as well.
    """
    services = services_in(objects)
    port = services.port(entry.namespace, entry.host, entry.service_port)
    name = f"service|{entry.namespace}|{entry.host}|{entry.service_port}"
    upstreams = {}
    if port:
        endpoints = services.endpoints(entry.namespace, entry.host, port)
        upstreams[name] = upstream(name, endpoints, port, lb_policy="RANDOM")
    if protocol(port) in ("tcp", "tls"):
        return Routing(chains=(chain(entry, [{"name": name}]),), upstreams=upstreams)
    action = {"cluster": name, "timeout": "0s", "retry_policy": CONNECT_RETRIES}
    return Routing(({"name": "service", "match": {"prefix": "/"}, "route": action},), upstreams=upstreams)
