"""Routers, by the name that a service file uses."""

from __future__ import annotations

from tasks.domain.spec import ServiceFile
from tasks.routers.base import Router
from tasks.routers.envoy import Envoy

ROUTERS = {"envoy": Envoy}


def open_router(service: ServiceFile) -> Router:
    """The router that the service file names."""
    return ROUTERS[service.router.kind](service)
