"""The kinds of objects that Davy reads and writes, and under which of their versions a server has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    Attributes:
        name: As ``kind`` in a manifest.
        plural: As in a URL, and as roles name it.
        group: Empty for the core one.
        versions: The ones that Davy understands, the preferred one first.
        namespaced: It lives in a namespace.
    """

    name: str
    plural: str
    group: str = ""
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True

    def __str__(self) -> str:
        return self.name


POD = Kind("Pod", "pods")
SERVICE = Kind("Service", "services")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
SECRET = Kind("Secret", "secrets")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
DEPLOYMENT = Kind("Deployment", "deployments", "apps")
REPLICA_SET = Kind("ReplicaSet", "replicasets", "apps")
AUTOSCALER = Kind(
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    "autoscaling",
    ("v2", "v2beta2"),
)
DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy", ("v1", "v1beta1"))
ENDPOINT_SLICE = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io", ("v1", "v1beta1"))
INGRESS = Kind("Ingress", "ingresses", "networking.k8s.io")
VIRTUAL_SERVICE = Kind(
    "VirtualService", "virtualservices", "networking.istio.io", ("v1", "v1beta1", "v1alpha3")
)
DESTINATION_RULE = Kind(
    "DestinationRule", "destinationrules", "networking.istio.io", ("v1", "v1beta1", "v1alpha3")
)
HTTP_ROUTE = Kind("HTTPRoute", "httproutes", "gateway.networking.k8s.io", ("v1", "v1beta1"))
GRPC_ROUTE = Kind("GRPCRoute", "grpcroutes", "gateway.networking.k8s.io", ("v1", "v1alpha2"))
ACCESS_REVIEW = Kind(
    "SelfSubjectAccessReview", "selfsubjectaccessreviews", "authorization.k8s.io", namespaced=False
)
