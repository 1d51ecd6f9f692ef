"""Fleets, by the name that a service file uses."""

from __future__ import annotations

from tasks.domain.spec import ServiceFile
from tasks.fleets.base import Fleet
from tasks.fleets.local import LocalProcesses

FLEETS = {"local": LocalProcesses}


def open_fleet(service: ServiceFile) -> Fleet:
    """The fleet that the service file names."""
    return FLEETS[service.fleet.kind](service)
