"""Fleets, by the name that a service file uses; each is imported when one is opened."""

from __future__ import annotations

from pkgutil import resolve_name

from tasks.domain.spec import ServiceFile
from tasks.fleets.base import Fleet

FLEETS = {
    "local": "tasks.fleets.local:LocalProcesses",
    "kubernetes": "tasks.fleets.kubernetes:KubernetesDeployments",
}


def open_fleet(service: ServiceFile) -> Fleet:
    """The fleet that the service file names."""
    fleet: Fleet = resolve_name(FLEETS[service.fleet.kind])(service)
    return fleet
