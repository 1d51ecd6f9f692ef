"""Routers, by the name that a service file uses; each is imported when one is opened."""

from __future__ import annotations

from pkgutil import resolve_name

from tasks.domain.spec import ServiceFile
from tasks.routers.base import Router

ROUTERS = {
    "envoy": "tasks.routers.envoy:Envoy",
    "istio": "tasks.routers.istio:Istio",
    "gateway_api": "tasks.routers.gateway_api:GatewayApi",
    "nginx": "tasks.routers.nginx:Nginx",
    "replicas": "tasks.routers.replicas:Replicas",
}


def open_router(service: ServiceFile) -> Router:
    """The router that the service file names."""
    router: Router = resolve_name(ROUTERS[service.router.kind])(service)
    return router
