"""Istio: shares by a VirtualService of the user's own.

While a release runs, its routes to the users' Service lead to the slots' Services; beside each of these
stands a DestinationRule with what the user's own one says of the users' Service.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from tasks.cluster import Json
from tasks.cluster.cluster import labels_on, refuse_newer
from tasks.cluster.kinds import DESTINATION_RULE, SERVICE, VIRTUAL_SERVICE
from tasks.cluster.labels import EPOCH, labels_of
from tasks.cluster.labels import SERVICE as SERVICE_LABEL
from tasks.cluster.permissions import Need
from tasks.cluster.pods import condition
from tasks.domain.errors import InputError, TransientError
from tasks.domain.kubernetes import IstioRouter
from tasks.domain.model import Address, Lease, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.routers.borrowed import BorrowedRoute
from tasks.routers.istio_matches import shared_hosts
from tasks.routers.istio_routes import FIELD, IstioRoutes
from tasks.routers.istio_rules import rule_spec, rules_of
from tasks.routers.slot_services import SEEN_WITHIN

_POLL = 0.1
_RECONCILED = "Reconciled"


class Istio(BorrowedRoute):
    """The router of one service; see `tasks.routers.base.Router`."""

    kinds = (VIRTUAL_SERVICE,)
    field = FIELD

    def __init__(self, service: ServiceFile) -> None:
        super().__init__(service)
        if not isinstance(service.router, IstioRouter):
            raise InputError("router.kind", service.router.kind, "istio")
        self._router = service.router
        self._routes = IstioRoutes(self.names)

    def named(self) -> str | None:
        """See `BorrowedRoute.named`."""
        return self._router.virtual_service

    def leads_here(self, spec: Json) -> bool:
        """See `BorrowedRoute.leads_here`."""
        return self._routes.leads_here(spec)

    def is_borrowed(self, spec: Json) -> bool:
        """See `BorrowedRoute.is_borrowed`."""
        return self._routes.is_borrowed(spec)

    def refuse(self, spec: Json, traffic: Traffic) -> None:
        """See `BorrowedRoute.refuse`: what can be built can be done."""
        self._routes.routed(spec, traffic)

    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """See `BorrowedRoute.routed`."""
        return self._routes.routed(spec, traffic)

    def restored(self, now: Json, original: Json) -> Json:
        """See `BorrowedRoute.restored`."""
        return self._routes.restored(now, original)

    def split_of(self, spec: Json) -> Split:
        """See `BorrowedRoute.split_of`."""
        return self._routes.split_of(spec)

    def needs(self) -> Sequence[Need]:
        """See `BorrowedRoute.needs`."""
        if not self.cluster.knows(DESTINATION_RULE):
            return super().needs()
        return [*super().needs(), (DESTINATION_RULE, "", "get list create patch delete")]

    def check(self) -> None:
        """See `Router.check`: also that no sidecar has to choose between two VirtualServices.

        Raises:
            InputError: Another one is for the same host, and sidecars follow only the older one; not retried.
        """
        super().check()
        for slot in Slot:
            self._rule(slot)
        kind, found = self.find()
        rule_spec(self._own_rules(), self._routes.subsets(found["spec"]), self.names.users)
        for other in self.cluster.list(kind):
            if other["metadata"]["name"] == found["metadata"]["name"]:
                continue
            if hosts := shared_hosts(found["spec"], other["spec"], self.names.namespace):
                both = [self.cluster.subject(kind, one["metadata"]["name"]) for one in (found, other)]
                expected = "one VirtualService for it: sidecars follow only the older of two"
                raise InputError(self.field, f"{' and '.join(sorted(both))} for {hosts[0]}", expected)

    def publish(self, slot: Slot, addresses: Collection[Address], lease: Lease) -> None:
        """See `Router.publish`: the slot's DestinationRule goes with its Service."""
        super().publish(slot, addresses, lease)
        if not addresses:
            self._remove_rule(slot, lease)

    def prepare(self, spec: Json, traffic: Traffic, lease: Lease) -> None:
        """See `BorrowedRoute.prepare`: the slots' DestinationRules say what the user's own one says."""
        own, subsets = self._own_rules(), self._routes.subsets(spec)
        for slot in (slot for slot in Slot if traffic.reaches(slot)):
            said = rule_spec(own, subsets, self.names.of(slot))
            if said is None:
                self._remove_rule(slot, lease)
            else:
                self._apply_rule(slot, said, lease)

    def settle(self, written: Json, traffic: Traffic, lease: Lease) -> None:
        """See `BorrowedRoute.settle`: where istiod says what it has done, wait for it.

        Raises:
            TransientError: It has not in time; retried.
        """
        del traffic, lease
        name, generation = written["metadata"]["name"], int(written["metadata"]["generation"])
        if _observed(written) < generation - 1:  # nobody says it, or does so any more
            return
        deadline = time.monotonic() + self._router.settle.total_seconds()
        while not _is_reconciled(self.cluster.need(VIRTUAL_SERVICE, name), generation):
            if time.monotonic() > deadline:
                subject = self.cluster.subject(VIRTUAL_SERVICE, name)
                msg = (
                    f"{subject}: generation {generation} not {_RECONCILED} yet, expected istiod to pass it on"
                )
                raise TransientError(msg)
            time.sleep(_POLL)

    def tidy(self, lease: Lease) -> None:
        """See `BorrowedRoute.tidy`: the slots' DestinationRules go, once no proxy needs them."""
        left = [slot for slot in Slot if self._rule(slot)]
        if left:
            time.sleep(SEEN_WITHIN.total_seconds())
        for slot in left:
            self._remove_rule(slot, lease)

    def _own_rules(self) -> list[Json]:
        return rules_of(self.names, self.cluster.list(DESTINATION_RULE))

    def _rule(self, slot: Slot) -> Json | None:
        """The slot's DestinationRule; one of that name that is not Davy's is refused.

        Raises:
            InputError: It is somebody else's; not retried.
        """
        found = self.cluster.read(DESTINATION_RULE, self.names.of(slot))
        if found and labels_on(found).get(SERVICE_LABEL) != self.service.service:
            subject = self.cluster.subject(DESTINATION_RULE, self.names.of(slot))
            raise InputError("router.service", subject, "that name to be free")
        return found

    def _apply_rule(self, slot: Slot, said: Json, lease: Lease) -> None:
        name, found = self.names.of(slot), self._rule(slot)
        service = self.cluster.need(SERVICE, name)["metadata"]
        owner = {"apiVersion": self.cluster.api_version(SERVICE), "kind": SERVICE.name, "name": name}
        metadata: Json = {
            "name": name,
            "labels": labels_of(self.service.service, slot, lease.release),
            "annotations": {EPOCH: str(lease.epoch)},
            "ownerReferences": [owner | {"uid": service["uid"]}],
        }
        if found:
            refuse_newer(found, lease, self.cluster.subject(DESTINATION_RULE, name))
            kept = found["metadata"]
            if found["spec"] == said and all(kept.get(key) == metadata[key] for key in metadata):
                return
            metadata["resourceVersion"] = kept["resourceVersion"]
        lease.check()
        self.cluster.apply(DESTINATION_RULE, {"metadata": metadata, "spec": said})

    def _remove_rule(self, slot: Slot, lease: Lease) -> None:
        if found := self._rule(slot):
            refuse_newer(found, lease, self.cluster.subject(DESTINATION_RULE, self.names.of(slot)))
            lease.check()
            self.cluster.delete(DESTINATION_RULE, self.names.of(slot), found)


def _observed(found: Json) -> int:
    """The generation that istiod has seen; -1 where it says nothing of what it passes on."""
    status = found.get("status") or {}
    if not (said := [one for one in status.get("conditions") or [] if one["type"] == _RECONCILED]):
        return -1
    return int(said[0].get("observedGeneration") or status.get("observedGeneration") or 0)


def _is_reconciled(found: Json, generation: int) -> bool:
    return _observed(found) >= generation and condition(found, _RECONCILED) == "True"
