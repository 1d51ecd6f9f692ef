"""The autoscaler and the disruption budget of a service, for the colour that is not its own Deployment.

While the other colour serves, it has an autoscaler and a budget like the own one's, made by Davy,
which go with its Deployment. The own ones are never touched: at 0 replicas an autoscaler rests.
"""

from __future__ import annotations

from tasks.cluster import Cluster, Json
from tasks.cluster.cluster import labels_on
from tasks.cluster.kinds import AUTOSCALER, DISRUPTION_BUDGET
from tasks.cluster.labels import labels_of, slot_labels
from tasks.domain.model import Lease, Revision
from tasks.fleets.kubernetes_template import owner_of


def autoscaler_of(cluster: Cluster, deployment: str) -> Json | None:
    """The autoscaler of a Deployment; None where it has none.

    Raises:
        TransientError: The server does not answer; retried.
    """
    return next((one for one in cluster.list(AUTOSCALER) if _scales(one, deployment)), None)


def hand_over(cluster: Cluster, own: Json, other: Json, revision: Revision, lease: Lease) -> None:
    """Give the *other* colour's Deployment an autoscaler and a budget like the *own* one's. Safe to repeat.

    Args:
        revision: What the other colour runs.

    Raises:
        TransientError: The server does not answer; retried.
    """
    scaler = autoscaler_of(cluster, own["metadata"]["name"])
    if scaler and scaler["spec"].get("maxReplicas"):
        target = scaler["spec"]["scaleTargetRef"] | {"name": other["metadata"]["name"]}
        spec = scaler["spec"] | {"scaleTargetRef": target}
        lease.check()
        cluster.apply(AUTOSCALER, {"metadata": _metadata(scaler, other, revision, lease), "spec": spec})
    for budget in _budgets(cluster, own, other):
        spec = budget["spec"] | {"selector": {"matchLabels": slot_labels(revision.service, revision.slot)}}
        lease.check()
        cluster.apply(
            DISRUPTION_BUDGET, {"metadata": _metadata(budget, other, revision, lease), "spec": spec}
        )


def _metadata(found: Json, other: Json, revision: Revision, lease: Lease) -> Json:
    return {
        "name": f"{found['metadata']['name']}-{revision.slot}",
        "labels": labels_of(revision.service, revision.slot, lease.release),
        "ownerReferences": [owner_of(other)],
    }


def _budgets(cluster: Cluster, own: Json, other: Json) -> list[Json]:
    """Those that protect the own pods, and not the other colour's already."""
    ours, theirs = (labels_on(one["spec"]["template"]) for one in (own, other))
    found = []
    for budget in cluster.list(DISRUPTION_BUDGET):
        selector = budget["spec"].get("selector") or {}
        wanted = selector.get("matchLabels") or {}
        if wanted.items() <= ours.items() and not wanted.items() <= theirs.items():
            found.append(budget)
    return [one for one in found if not (one["spec"]["selector"].get("matchExpressions"))]


def _scales(scaler: Json, deployment: str) -> bool:
    target = scaler["spec"]["scaleTargetRef"]
    return bool(target["kind"] == "Deployment" and target["name"] == deployment)
