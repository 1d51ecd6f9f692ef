"""What runs of a service on Kubernetes: its Deployments and pods, read by slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from tasks.cluster import Cluster, Json
from tasks.cluster.cluster import labels_on
from tasks.cluster.kinds import DEPLOYMENT, POD
from tasks.cluster.labels import SERVICE, SLOT
from tasks.cluster.pods import address_of, images_of
from tasks.domain.kubernetes import KubernetesFleet
from tasks.domain.model import Health, Replica, Revision, Slot
from tasks.fleets import kubernetes_template as template
from tasks.fleets.kubernetes_health import health_of, missing_because


class Seen:
    """The Deployments and pods of one service.

    Every method raises `TransientError` where the API server does not answer, and `GoneError` where
    the own Deployment is not there.
    """

    def __init__(self, cluster: Cluster, service: str, fleet: KubernetesFleet) -> None:
        self._cluster, self._service, self._fleet = cluster, service, fleet
        self.name = fleet.deployment_of(service, Slot.BLUE)
        self.subject = cluster.subject(DEPLOYMENT, self.name)

    @cached_property
    def own_selector(self) -> Mapping[str, str]:
        """What selects the own Deployment's pods; it can't be changed there."""
        selector: Mapping[str, str] = self.own()["spec"]["selector"]["matchLabels"]
        return selector

    def own(self) -> Json:
        """The service's own Deployment."""
        return self._cluster.need(DEPLOYMENT, self.name)

    def deployment(self, slot: Slot) -> Json | None:
        """The Deployment of a slot; None where there is none."""
        return self._cluster.read(DEPLOYMENT, self._fleet.deployment_of(self._service, slot))

    def version(self, deployment: Json) -> str:
        """The version that a Deployment is to run."""
        return template.version_of(self._fleet, deployment["spec"]["template"], self.subject)

    def like(self, revision: Revision) -> Json | None:
        """The colour's Deployment that runs the same version; None where none does."""
        for slot in (Slot.BLUE, Slot.GREEN):
            found = self.deployment(slot)
            if found and self.version(found) == revision.version:
                return found
        return None

    def pods(self, slot: Slot) -> list[Json]:
        """The pods of a slot, oldest first."""
        if slot is Slot.BLUE:
            labelled = self._cluster.list(POD, self.own_selector)
            found = [pod for pod in labelled if SERVICE not in labels_on(pod)]
        else:
            found = self._cluster.list(POD, {SERVICE: self._service, SLOT: str(slot)})
        return sorted(found, key=_age)

    def pods_of(self, revision: Revision) -> list[Json]:
        """Those of them that run the revision's version."""
        return [pod for pod in self.pods(revision.slot) if self._version_of(pod) == revision.version]

    def replicas(self, slot: Slot) -> list[Replica]:
        """Each pod of a slot, and each that is missing."""
        deployment = self.deployment(slot)
        return self._replicas(slot, deployment, self.pods(slot))

    def everything(self) -> list[Replica]:
        """The replicas of all slots, with four calls in all."""
        made = [self.own(), *self._cluster.list(DEPLOYMENT, {SERVICE: self._service})]
        deployments = {one["metadata"]["name"]: one for one in made}
        pods = [pod for pod in self._cluster.list(POD, self.own_selector) if SERVICE not in labels_on(pod)]
        pods += self._cluster.list(POD, {SERVICE: self._service})
        found: list[Replica] = []
        for slot in Slot:
            here = [pod for pod in pods if (template.slot_on(pod, self._service) or Slot.BLUE) is slot]
            name = self._fleet.deployment_of(self._service, slot)
            found += self._replicas(slot, deployments.get(name), sorted(here, key=_age))
        return found

    def _version_of(self, pod: Json) -> str:
        return template.version_of(self._fleet, pod, self.subject)

    def _replicas(self, slot: Slot, deployment: Json | None, pods: Sequence[Json]) -> list[Replica]:
        seen = [self._replica(slot, number, pod) for number, pod in enumerate(pods, start=1)]
        return seen + (self._missing(slot, deployment, pods) if deployment else [])

    def _replica(self, slot: Slot, number: int, pod: Json) -> Replica:
        seen, address = health_of(pod), address_of(pod, self._fleet.port)
        revision = Revision(self._service, slot, self._version_of(pod))
        return Replica(
            revision,
            number,
            address.host,
            address.port,
            seen.health,
            seen.restarts,
            seen.detail,
            images_of(pod),
        )

    def _missing(self, slot: Slot, deployment: Json, pods: Sequence[Json]) -> list[Replica]:
        """Replicas that a Deployment asks for and that have no pod: none yet, or none can be made."""
        if "deletionTimestamp" in deployment["metadata"]:
            return []
        revision = Revision(self._service, slot, self.version(deployment))
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        missing = deployment["spec"].get("replicas", 1) - len(staying)
        why = missing_because(deployment)
        health = Health.UNHEALTHY if why else Health.STARTING
        numbers = range(len(pods) + 1, len(pods) + 1 + missing)
        return [
            Replica(revision, number, "", 0, health, detail=why or "has no pod yet") for number in numbers
        ]


def _age(pod: Json) -> tuple[str, str]:
    return pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]
