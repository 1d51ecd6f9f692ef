"""Ready-made readings of well-known series: which one counts what, and whose it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.domain.model import Slot
from tasks.domain.parts import Metrics

_QUOTED = re.compile(r"""(["'])(\\.|(?!\1).)*\1""")


@dataclass(frozen=True)
class Preset:
    """The series of one kind of proxy or server.

    Attributes:
        requests: Name of the counter of requests.
        latency: Name of the buckets of how long they took.
        unit: Milliseconds in one unit of the buckets' bounds.
        codes: Labels of the counter that may hold the HTTP status.
        match: By slot, the label matchers that tell its series.
        only: By label, a matcher that holds unless the service file has its own for that label.
    """

    requests: str
    latency: str
    unit: float
    codes: tuple[str, ...]
    match: Mapping[Slot, str]
    only: Mapping[str, str]

    def selector(self, metrics: Metrics, service: str, slot: Slot) -> str | None:
        """Selects the series of one slot; None for a slot that the service file says nothing of."""
        match = self.match if metrics.match is None else metrics.match
        text = match if isinstance(match, str) else match.get(slot)
        if text is None:
            return None
        own = text.format(service=service, slot=slot).strip().rstrip(",")
        given = re.findall(r"(\w+)\s*[=!]", _QUOTED.sub("", own))
        only = [matcher for label, matcher in self.only.items() if label not in given]
        names = f'__name__=~"{self.requests}|{self.latency}"'
        return f"{{{', '.join([names, *only, own])}}}"


_NAMED = "{service}-{slot}"
_MAIN = f'service="{_NAMED}", canary=""'
_BESIDE = f'service=~"{{service}}-(blue|green)", canary=~".+-{_NAMED}-[^-]+"'

PRESETS = {
    "istio": Preset(
        requests="istio_requests_total",
        latency="istio_request_duration_milliseconds_bucket",
        unit=1,
        codes=("response_code",),
        match=dict.fromkeys(Slot, f'destination_workload="{_NAMED}"'),
        # Who asks also counts what never reached the workload, and each request counts once.
        only={"reporter": 'reporter="source"'},
    ),
    "nginx": Preset(
        requests="nginx_ingress_controller_requests",
        latency="nginx_ingress_controller_request_duration_seconds_bucket",
        unit=1000,
        codes=("status",),
        # A canary's requests count under the main service, with NAMESPACE-SERVICE-PORT in ``canary``.
        match={Slot.BLUE: _MAIN, Slot.GREEN: _MAIN, Slot.CANDIDATE: _BESIDE, Slot.BASELINE: _BESIDE},
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
