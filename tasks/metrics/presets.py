"""Ready-made readings of well-known series: which one counts what, and whose it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tasks.domain.kubernetes import KubernetesFleet, ServiceRouter
from tasks.domain.model import Slot
from tasks.domain.parts import Metrics
from tasks.domain.spec import ServiceFile

_QUOTED = re.compile(r"""(["'])(\\.|(?!\1).)*\1""")


@dataclass(frozen=True)
class Place:
    """What a slot is called in labels.

    Attributes:
        workload: What runs it: on Kubernetes the name of its Deployment.
        backend: The Service that users know; those of slots have ``-{slot}`` after it.
        namespace: A regular expression for where they are.
    """

    service: str
    slot: Slot
    workload: str
    backend: str
    namespace: str

    @classmethod
    def of(cls, service: ServiceFile, slot: Slot) -> Place:
        """A slot of *service*."""
        name, fleet, router = service.service, service.fleet, service.router
        backend = router.service_of(name) if isinstance(router, ServiceRouter) else name
        if isinstance(fleet, KubernetesFleet):
            return cls(name, slot, fleet.deployment_of(name, slot), backend, fleet.namespace)
        return cls(name, slot, f"{name}-{slot}", backend, ".*")


@dataclass(frozen=True)
class Preset:
    """The series of one kind of proxy or server.

    Attributes:
        requests: Name of the counter of requests.
        latency: Name of the buckets of how long they took.
        unit: Milliseconds in one unit of the buckets' bounds.
        codes: Labels of the counter that may hold the HTTP status.
        match: By slot, the label matchers that tell its series; those of any of several count.
        only: By label, a matcher that holds unless the service file has its own for that label.

    What `match` holds has the fields of `Place`.
    """

    requests: str
    latency: str
    unit: float
    codes: tuple[str, ...]
    match: Mapping[Slot, tuple[str, ...]]
    only: Mapping[str, str]

    def selectors(self, metrics: Metrics, place: Place) -> tuple[str, ...]:
        """Select the series of one slot, each of them others; none for a slot that the service file says nothing of."""
        match = self.match if metrics.match is None else metrics.match
        found = match if isinstance(match, str) else match.get(place.slot, ())
        texts = (found,) if isinstance(found, str) else found
        return tuple(self._selector(text.format(**asdict(place))) for text in texts)

    def _selector(self, text: str) -> str:
        own = text.strip().rstrip(",")
        given = re.findall(r"(\w+)\s*[=!]", _QUOTED.sub("", own))
        only = [matcher for label, matcher in self.only.items() if label not in given]
        names = f'__name__=~"{self.requests}|{self.latency}"'
        return f"{{{', '.join([names, *only, own])}}}"


_WORKLOAD = 'destination_workload="{workload}", destination_workload_namespace=~"{namespace}"'
_ALONE = 'service="{backend}-{slot}", canary=""'
_AT_REST = 'service=~"{backend}(-{slot})?", canary=""'
"""Where no release runs, the users' Service stands for the colour that has everything."""
_BESIDE = 'service=~"{backend}(-(blue|green))?", canary=~"{namespace}-{backend}-{slot}-.+"'
"""A canary's requests count under the main Ingress's service, with NAMESPACE-SERVICE-PORT in ``canary``."""

PRESETS = {
    "istio": Preset(
        requests="istio_requests_total",
        latency="istio_request_duration_milliseconds_bucket",
        unit=1,
        codes=("response_code",),
        match=dict.fromkeys(Slot, (_WORKLOAD,)),
        # Who asks also counts what never reached the workload, and each request counts once.
        only={"reporter": 'reporter="source"'},
    ),
    "nginx": Preset(
        requests="nginx_ingress_controller_requests",
        latency="nginx_ingress_controller_request_duration_seconds_bucket",
        unit=1000,
        codes=("status",),
        match={slot: (_AT_REST if slot in (Slot.BLUE, Slot.GREEN) else _ALONE, _BESIDE) for slot in Slot},
        only={},
    ),
    "http": Preset(
        requests="http_requests_total",
        latency="http_request_duration_seconds_bucket",
        unit=1000,
        codes=("code", "status", "status_code"),
        match={},
        only={},
    ),
}
"""By the name that a service file uses."""
