"""The Services of one service on Kubernetes: the one that users know, and one for each slot.

Routes of a release lead to the slots' Services, so that a share can be given to exactly the pods of
one revision. At rest they lead to the users' Service again, which then selects the pods of the
colour that has all requests: its selector keeps its keys, and has that colour's values.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from tasks.cluster import Cluster, Json, open_cluster
from tasks.cluster.cluster import annotations_of, labels_on, refuse_newer
from tasks.cluster.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, SERVICE
from tasks.cluster.labels import EPOCH, SLOT, labels_of, slot_labels
from tasks.cluster.labels import SERVICE as SERVICE_LABEL
from tasks.cluster.pods import address_of, is_ready
from tasks.domain.errors import InputError, PermanentError, TransientError
from tasks.domain.kubernetes import ServiceRouter
from tasks.domain.model import Address, Lease, Slot, Split
from tasks.domain.spec import ServiceFile
from tasks.routers.service_names import ServiceNames

_COPIED = ("name", "port", "protocol", "targetPort", "appProtocol")
"""What of a port of the users' Service a slot's has too."""
_TAKE_UP = timedelta(seconds=10)
"""How long the endpoint controller may take to list pods that are ready."""
SEEN_WITHIN = timedelta(seconds=1)
"""How long proxies may take to see what the API server has of a Service, before a route leads there."""
_POLL = 0.05


class SlotServices:
    """The Services of one service, as they are in the cluster."""

    def __init__(self, service: ServiceFile) -> None:
        if not isinstance(service.router, ServiceRouter):
            raise InputError("router.kind", service.router.kind, "a router for Kubernetes")
        self.cluster: Cluster = open_cluster(service)
        self.service = service
        self.names = ServiceNames(self.cluster.namespace, service.router.service_of(service.service))
        self._new: set[Slot] = set()

    def users(self) -> Json:
        """The Service that users know.

        Raises:
            GoneError: There is none; not retried.
            InputError: It selects no pods by labels; not retried.
            TransientError: The API server does not answer; retried.
        """
        found = self.cluster.need(SERVICE, self.names.users)
        if not found["spec"].get("selector"):
            subject = self.cluster.subject(SERVICE, self.names.users)
            raise InputError("router.service", subject, "a Service with a selector")
        return found

    def own_selector(self) -> dict[str, str]:
        """What selects the pods of the service's own Deployment, and of no other revision.

        Raises:
            GoneError: There is no such Deployment; not retried.
            InputError: It does not select by labels alone; not retried.
        """
        name = self._deployment(Slot.BLUE)
        selector = self.cluster.need(DEPLOYMENT, name)["spec"]["selector"]
        if selector.get("matchExpressions") or not selector.get("matchLabels"):
            subject = self.cluster.subject(DEPLOYMENT, name)
            raise InputError("fleet.deployment", subject, "a Deployment whose selector has matchLabels only")
        return dict(selector["matchLabels"])

    def selector(self, slot: Slot) -> dict[str, str]:
        """What selects the pods of *slot*, and of no other."""
        return self.own_selector() if slot is Slot.BLUE else slot_labels(self.service.service, slot)

    def refuse_taken(self) -> None:
        """Make sure that no Service of somebody else's has the name of a slot's.

        Raises:
            InputError: One has; not retried.
            TransientError: The API server does not answer; retried.
        """
        for slot in Slot:
            if found := self.cluster.read(SERVICE, self.names.of(slot)):
                self._refuse_foreign(found)

    def ensure(self, slot: Slot, lease: Lease) -> None:
        """Have the slot's Service, with the ports of the users' one. Safe to repeat.

        Raises:
            GoneError: There is no Deployment of that slot; not retried.
            InputError: A Service of that name is somebody else's; not retried.
            TransientError: Others write it, or the API server does not answer; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        name, found = self.names.of(slot), self.cluster.read(SERVICE, self.names.of(slot))
        wanted = self._wanted(slot, lease)
        if found:
            self._refuse_foreign(found)
            refuse_newer(found, lease, self.cluster.subject(SERVICE, name))
            if _says(found, wanted):
                return
            wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        else:
            self._new.add(slot)
        lease.check()
        self.cluster.apply(SERVICE, wanted)

    def remove(self, slot: Slot, lease: Lease) -> None:
        """Delete the slot's Service. Nothing there is no error.

        Raises:
            TransientError: The API server does not answer; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        name, found = self.names.of(slot), self.cluster.read(SERVICE, self.names.of(slot))
        if found is None or labels_on(found).get(SERVICE_LABEL) != self.service.service:
            return
        refuse_newer(found, lease, self.cluster.subject(SERVICE, name))
        lease.check()
        self.cluster.delete(SERVICE, name, found)

    def endpoints(self, name: str) -> frozenset[Address]:
        """Where a Service's ready pods are, as its EndpointSlices say."""
        found = self.cluster.list(ENDPOINT_SLICE, {"kubernetes.io/service-name": name})
        return frozenset(
            Address(address, int(port["port"]))
            for one in found
            for port in (one.get("ports") or [])[:1]
            for endpoint in one.get("endpoints") or []
            if (endpoint.get("conditions") or {}).get("ready", True)
            for address in endpoint["addresses"]
        )

    def await_endpoints(self, slot: Slot, addresses: Collection[Address]) -> None:
        """Return once the slot's EndpointSlices list each of *addresses*, and proxies had time to see a new Service.

        Raises:
            TransientError: Not in time, or the API server does not answer; retried.
        """
        wanted = {address.host for address in addresses}
        deadline = time.monotonic() + _TAKE_UP.total_seconds()
        while missing := wanted - {one.host for one in self.endpoints(self.names.of(slot))}:
            if time.monotonic() > deadline:
                subject = self.cluster.subject(SERVICE, self.names.of(slot))
                msg = f"{subject}: {len(missing)} of {len(wanted)} ready pods not among its endpoints yet"
                msg = f"{msg}, expected all of them"
                raise TransientError(msg)
            time.sleep(_POLL)
        if slot in self._new:
            time.sleep(SEEN_WITHIN.total_seconds())
            self._new.discard(slot)

    def ready_pods(self, selector: Mapping[str, str]) -> list[Json]:
        """Pods that take requests now."""
        return [pod for pod in self.cluster.list(POD, selector) if is_ready(pod)]

    def addresses(self, slot: Slot) -> tuple[Address, ...]:
        """Where the slot's ready pods are; sorted."""
        port = self.service.kubernetes.port
        return tuple(sorted(address_of(pod, port) for pod in self.ready_pods(self.selector(slot))))

    def behind_users(self) -> dict[Slot, int]:
        """How many pods of each slot the users' Service selects: the ready ones, else all there are."""
        pods = self.cluster.list(POD, self.users()["spec"]["selector"])
        return self.by_slot([pod for pod in pods if is_ready(pod)] or pods)

    def by_slot(self, pods: Iterable[Json]) -> dict[Slot, int]:
        """How many of *pods* each slot has; those of none are left out."""
        own = self.own_selector()
        return dict(Counter(slot for pod in pods if (slot := self._slot_of(pod, own))))

    def split_at_rest(self) -> Split | None:
        """Who has how many of the requests that go to the users' Service; None without any pod."""
        counts = self.behind_users()
        return Split.by_count(counts) if counts else None

    def of_users(self, slot: Slot, keys: Iterable[str]) -> dict[str, str]:
        """The users' Service's selector, of these *keys*, where it selects the pods of *slot*.

        Raises:
            PermanentError: They have no such label; not retried.
        """
        labels, wanted = self._template_labels(slot), list(keys)
        if unknown := set(wanted) - labels.keys():
            subject = self.cluster.subject(DEPLOYMENT, self._deployment(slot))
            msg = f"{subject}: found no label {sorted(unknown)} on its pods, expected what the Service selects by"
            raise PermanentError(msg)
        return {key: labels[key] for key in wanted}

    def point_users_to(self, slot: Slot, lease: Lease) -> bool:
        """Let the users' Service select the pods of *slot*.

        Returns:
            Whether it selects those pods now, and no others: else others must go first.

        Raises:
            TransientError: The API server does not answer; retried.
        """

        def edit(found: Json) -> Json:
            found["spec"]["selector"] = self.of_users(slot, found["spec"]["selector"])
            return found

        before = self.users()["spec"]["selector"]
        after = self.cluster.change(SERVICE, self.names.users, edit, lease)["spec"]["selector"]
        deadline = time.monotonic() + _TAKE_UP.total_seconds()
        wanted = {address.host for address in self.addresses(slot)}
        while self.behind_users().keys() == {slot}:
            if {one.host for one in self.endpoints(self.names.users)} == wanted:
                break
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        else:
            return False
        if after != before:
            time.sleep(SEEN_WITHIN.total_seconds())
        return bool(wanted)

    def _refuse_foreign(self, found: Json) -> None:
        if labels_on(found).get(SERVICE_LABEL) != self.service.service:
            subject = self.cluster.subject(SERVICE, found["metadata"]["name"])
            raise InputError("router.service", subject, "that name to be free")

    def _wanted(self, slot: Slot, lease: Lease) -> Json:
        spec = self.users()["spec"]
        ports = [{key: port[key] for key in _COPIED if key in port} for port in spec["ports"]]
        deployment = self.cluster.need(DEPLOYMENT, self._deployment(slot))["metadata"]
        owner = {
            "apiVersion": self.cluster.api_version(DEPLOYMENT),
            "kind": DEPLOYMENT.name,
            "name": deployment["name"],
            "uid": deployment["uid"],
        }
        headless = {"clusterIP": "None"} if spec.get("clusterIP") == "None" else {}
        return {
            "metadata": {
                "name": self.names.of(slot),
                "labels": labels_of(self.service.service, slot, lease.release),
                "annotations": {EPOCH: str(lease.epoch)},
                "ownerReferences": [owner],
            },
            "spec": {"type": "ClusterIP", "ports": ports, "selector": self.selector(slot)} | headless,
        }

    def _slot_of(self, pod: Json, own: Mapping[str, str]) -> Slot | None:
        labels = labels_on(pod)
        if labels.get(SERVICE_LABEL) == self.service.service and labels.get(SLOT) in set(Slot):
            return Slot(labels[SLOT])
        return Slot.BLUE if own.items() <= labels.items() else None

    def _template_labels(self, slot: Slot) -> dict[str, str]:
        found = self.cluster.need(DEPLOYMENT, self._deployment(slot))
        return labels_on(found["spec"]["template"])

    def _deployment(self, slot: Slot) -> str:
        return self.service.kubernetes.deployment_of(self.service.service, slot)


def _says(found: Json, wanted: Json) -> bool:
    """Whether *found* has all that *wanted* has, whatever else it has."""
    same_spec = all(
        found["spec"].get(key) == value for key, value in wanted["spec"].items() if key != "ports"
    )
    ports = [{key: port[key] for key in _COPIED if key in port} for port in found["spec"]["ports"]]
    same_ports = [port | {"protocol": "TCP"} | port for port in wanted["spec"]["ports"]] == ports
    return (
        same_spec
        and same_ports
        and annotations_of(found).get(EPOCH) == wanted["metadata"]["annotations"][EPOCH]
    )
