"""The rig's own tests have its cluster."""

from tests.rig.cluster.fixtures import cluster, control_plane, crds, kubelet, namespace

__all__ = ["cluster", "control_plane", "crds", "kubelet", "namespace"]
