"""Which pods fit on the rig's node, and what a scheduler says of those that do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kubernetes.utils.quantity import parse_quantity

from tests.rig.cluster.kubelet_api import Json


def reasons_against(
    pod: Json, labels: Mapping[str, str], capacity: Mapping[str, str], others: Iterable[Json]
) -> str:
    """Why the node does not take *pod*, in the scheduler's words; empty if it does.

    Args:
        labels: The node's.
        others: The pods that it has.
    """
    reasons = []
    asked = pod["spec"].get("nodeSelector", {})
    if any(labels.get(name) != value for name, value in asked.items()):
        reasons.append("1 node(s) didn't match Pod's node affinity/selector")
    else:
        wanted = requests(pod)
        used = sum((requests(other) for other in others), Counter[str]())
        reasons += [
            f"1 {'Too many pods' if name == 'pods' else f'Insufficient {name}'}"
            for name, amount in sorted(wanted.items())
            if used[name] + amount > parse_quantity(capacity.get(name, "0"))
        ]
    return f"0/1 nodes are available: {', '.join(sorted(reasons))}." if reasons else ""


def requests(pod: Json) -> Counter[str]:
    """What a pod asks of a node, by resource."""
    total: Counter[str] = Counter({"pods": 1})
    for container in pod["spec"]["containers"]:
        for name, amount in container.get("resources", {}).get("requests", {}).items():
            total[name] += parse_quantity(amount)
    return total


def node(name: str, labels: Mapping[str, str]) -> Json:
    """A node's object."""
    usual = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": usual | dict(labels)}}


def node_status(name: str, capacity: Mapping[str, str], address: str, now: str) -> Json:
    """What it reports of itself."""
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
    return {"capacity": capacity, "allocatable": capacity, "conditions": [ready], "addresses": addresses}
