"""Metric sources, by the name that a service file uses."""

from __future__ import annotations

from tasks.domain.spec import ServiceFile
from tasks.metrics.base import MetricSource
from tasks.metrics.envoy import EnvoySamples
from tasks.metrics.prometheus import Prometheus

SOURCES = {"envoy": EnvoySamples, "prometheus": Prometheus}


def open_metrics(service: ServiceFile) -> MetricSource:
    """The metric source that the service file names."""
    return SOURCES[service.analysis.metrics.source](service)
