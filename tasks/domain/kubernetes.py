"""The parts of a service file for Kubernetes: the fleet and its routers. Defaults stand here."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.domain.model import Slot
from tasks.domain.parts import Part, PositiveDuration
from tasks.domain.units import Duration

ROOM = 52
"""Characters of a name to which a slot's can still be added."""

ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
BaseName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=ROOM)]


class KubernetesFleet(Part):
    """Revisions as Deployments beside the service's own one."""

    kind: Literal["kubernetes"]
    namespace: ObjectName = "default"
    deployment: BaseName | None = None
    """The service's own Deployment; the service's name where it is left out."""
    container: str | None = None
    """The container whose image is the version; needed where the pods have several."""
    image: str | None = Field(None, pattern=r"\{version\}")
    """The image of a version, as in ``registry/shop:{version}``; the own one's with another tag (or digest)
    where it is left out."""
    config: tuple[str, ...] = ()
    """Manifests of the ConfigMaps and Secrets that come with a version: files, relative ones count from the
    service file's folder; ``{version}`` is filled in. They come and go with the revision."""
    kubeconfig: str | None = None
    """A kubeconfig; KUBECONFIG, the home folder's, or the pod's own account where it is left out."""
    context: str | None = None
    """A context of the kubeconfig; the current one where it is left out."""
    port: int | None = Field(None, ge=1, le=65535)
    """Where a pod answers; its container's first port where it is left out."""
    ready_within: PositiveDuration = timedelta(minutes=10)
    """How long new pods may take; the Deployment's own ``progressDeadlineSeconds`` ends it earlier."""
    drain: Duration = timedelta(seconds=5)
    """How long requests in flight may take to end before pods without a share are stopped."""

    @field_validator("image", "config")
    @classmethod
    def _fillable(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for text in (value,) if isinstance(value, str) else value or ():
            try:
                text.format(version="1")
            except (KeyError, IndexError, ValueError) as error:
                msg = f"found {text!r}, expected no fields but {{version}}"
                raise ValueError(msg) from error
        return value

    def deployment_of(self, service: str, slot: Slot) -> str:
        """The name of a slot's Deployment; the service's own one is one of the two colours."""
        own = self.deployment or service
        return own if slot is Slot.BLUE else f"{own}-{slot}"


class ServiceRouter(Part):
    """What all routers of Kubernetes have: the Service that users know."""

    service: BaseName | None = None
    """The Service in front of the own Deployment; the service's name where it is left out."""
    settle: PositiveDuration = timedelta(seconds=30)
    """How long the proxies may take to serve a new split, as the counted requests show it."""

    def service_of(self, service: str, slot: Slot | None = None) -> str:
        """The Service that users know, or that of one slot."""
        own = self.service or service
        return own if slot is None else f"{own}-{slot}"


class IstioRouter(ServiceRouter):
    """Shares by an Istio VirtualService of the user's own, which it gives back."""

    kind: Literal["istio"]
    virtual_service: ObjectName | None = None
    """The one whose routes lead to the Service; needed where several do."""


class GatewayRouter(ServiceRouter):
    """Shares by an HTTPRoute or GRPCRoute of the Gateway API of the user's own, which it gives back."""

    kind: Literal["gateway_api"]
    route: ObjectName | None = None
    """The one whose rules lead to the Service; needed where several do."""


class NginxRouter(ServiceRouter):
    """Shares by a canary Ingress beside the user's own one, for the NGINX ingress controller."""

    kind: Literal["nginx"]
    ingress: ObjectName | None = None
    """The one whose paths lead to the Service; needed where several do."""


class ReplicasRouter(ServiceRouter):
    """Shares by the number of ready pods behind the Service: the nearest that is possible."""

    kind: Literal["replicas"]


KubernetesRouter = IstioRouter | GatewayRouter | NginxRouter | ReplicasRouter
