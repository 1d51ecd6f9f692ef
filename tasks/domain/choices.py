"""What a service file may choose from: fleets and routers, each read by the model that its ``kind`` names."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from tasks.domain.kubernetes import (
    GatewayRouter,
    IstioRouter,
    KubernetesFleet,
    NginxRouter,
    ReplicasRouter,
)
from tasks.domain.parts import EnvoyRouter, LocalFleet


def _kind(default: str) -> Discriminator:
    """Which model reads a part that has several kinds: *default* where it does not say."""

    def kind_of(value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind_of)


Fleet = Annotated[
    Annotated[LocalFleet, Tag("local")] | Annotated[KubernetesFleet, Tag("kubernetes")], _kind("local")
]
"""What runs the service."""
Router = Annotated[
    Annotated[EnvoyRouter, Tag("envoy")]
    | Annotated[IstioRouter, Tag("istio")]
    | Annotated[GatewayRouter, Tag("gateway_api")]
    | Annotated[NginxRouter, Tag("nginx")]
    | Annotated[ReplicasRouter, Tag("replicas")],
    _kind("envoy"),
]
"""What splits its requests."""
