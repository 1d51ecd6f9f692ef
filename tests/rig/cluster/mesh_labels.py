"""What each product calls a request that the mesh has logged: names and labels of its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.rig.cluster.mesh_log import Line
from tests.rig.cluster.mesh_pods import UNKNOWN, Pod
from tests.rig.cluster.translate_base import Entry

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Shape:
    """How one product exports requests.

    Attributes:
        requests: Name of the counter.
        durations: Name of the histogram.
        unit: Milliseconds in one unit of the histogram's bounds.
        labels: What each series is called that counts a request; none counts one that it does not see.
    """

    requests: str
    durations: str
    unit: float
    labels: Callable[[Line, Entry, Pod], Iterator[Labels]]


def _istio(line: Line, entry: Entry, pod: Pod) -> Iterator[Labels]:
    """The user's proxy counts all but copies; the pod's own what reached the pod, copies too."""
    _, _, _, fqdn = (*line.cluster.split("|"), "", "", "", "")[:4]
    name, _, rest = fqdn.partition(".")
    common = {
        "response_code": str(line.code),
        "response_flags": line.flags,
        "request_protocol": "http" if line.grpc is None else "grpc",
        "grpc_response_status": "" if line.grpc is None else str(line.grpc),
        "source_workload": "users",
        "source_workload_namespace": entry.namespace,
        "destination_service": fqdn or entry.host,
        "destination_service_name": name or entry.host,
        "destination_service_namespace": rest.partition(".")[0] or "unknown",
        "destination_workload": pod.workload,
        "destination_workload_namespace": pod.namespace,
        "destination_app": pod.labels.get("app", "unknown"),
        "destination_version": pod.labels.get("version", "unknown"),
        "destination_canonical_service": pod.labels.get("app", pod.workload),
        "destination_canonical_revision": pod.labels.get("version", "latest"),
        "connection_security_policy": "unknown",
    }
    if line.kind != "mirror":
        yield _sorted(common, reporter="source")
    if _was_answered(line, pod):
        yield _sorted(common, reporter="destination", response_flags="-", connection_security_policy="none")


def _nginx(line: Line, entry: Entry, _pod: Pod) -> Iterator[Labels]:
    """The controller counts; a canary's requests under the main ingress and service."""
    if line.cluster:
        _, namespace, ingress, service, _, canary = line.cluster.split("|")
        labels = {"namespace": namespace, "ingress": ingress, "service": service, "canary": canary}
    else:
        labels = dict.fromkeys(("namespace", "ingress", "service", "canary"), "")
    yield _sorted(
        labels,
        host=entry.host,
        status=str(line.code),
        method=line.method,
        path="/",
        controller_class="k8s.io/ingress-nginx",
        controller_namespace="ingress-nginx",
        controller_pod="ingress-nginx-controller-0",
    )


def _servers(line: Line, _entry: Entry, pod: Pod) -> Iterator[Labels]:
    """The servers count what they answer, whoever asks."""
    if _was_answered(line, pod):
        _, namespace, service, _ = line.cluster.split("|")
        yield _sorted(
            pod.labels and {"version": pod.labels.get("version", "")},
            code=str(line.code),
            method=line.method,
            namespace=namespace,
            service=service,
            pod=pod.name,
            deployment=pod.workload,
            workload=pod.workload,
        )


def _was_answered(line: Line, pod: Pod) -> bool:
    return pod is not UNKNOWN and (line.flags == "-" or bool(line.version))


def _sorted(labels: Mapping[str, str], **more: str) -> Labels:
    return tuple(sorted({**labels, **more}.items()))


_HTTP = Shape("http_requests_total", "http_request_duration_seconds", 1000, _servers)
SHAPES: Mapping[str, Shape] = {
    "istio": Shape("istio_requests_total", "istio_request_duration_milliseconds", 1, _istio),
    "ingress": Shape(
        "nginx_ingress_controller_requests", "nginx_ingress_controller_request_duration_seconds", 1000, _nginx
    ),
    "gateway": _HTTP,
    "service": _HTTP,
}
"""By the kind of an entry."""
