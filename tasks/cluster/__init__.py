"""Kubernetes clusters: how they are reached, and what Davy reads and writes there.

What fleets and routers on Kubernetes have in common; it knows neither of them.
"""

from __future__ import annotations

from tasks.cluster.access import client_of
from tasks.cluster.cluster import Cluster, Json
from tasks.domain.spec import ServiceFile

__all__ = ["Cluster", "Json", "open_cluster"]


def open_cluster(service: ServiceFile) -> Cluster:
    """The namespace that the service file names, in its cluster.

    Raises:
        InputError: The kubeconfig or its context can't be used; not retried.
    """
    fleet = service.kubernetes
    return Cluster(client_of(fleet.kubeconfig, fleet.context), fleet.namespace)
