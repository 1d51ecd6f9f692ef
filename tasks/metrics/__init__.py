"""Metric sources, by the name that a service file uses.

They are imported when one is opened: the sampler runs from this package and must stay
small, and the sources need pandas.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.domain.spec import ServiceFile
    from tasks.metrics.base import MetricSource

SOURCES = {
    "envoy": "tasks.metrics.envoy:EnvoySamples",
    "prometheus": "tasks.metrics.prometheus:Prometheus",
}


def open_metrics(service: ServiceFile) -> MetricSource:
    """The metric source that the service file names."""
    source: MetricSource = resolve_name(SOURCES[service.analysis.metrics.source])(service)
    return source
