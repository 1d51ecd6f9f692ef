"""Routers that borrow a route object of the user's own for a release, and give it back.

A VirtualService, an HTTPRoute or an Ingress stays the user's: while a release runs, those of its
routes that lead to the service lead to the slots' Services, and an annotation holds what it said
before. All else in it is left as it is. Each write is a compare-and-set that carries the lease's epoch,
so a carrier that was taken over can change nothing: its object has changed.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from tasks.cluster import Json
from tasks.cluster.cluster import annotations_of, labels_on, refuse_newer
from tasks.cluster.kinds import Kind
from tasks.cluster.labels import RELEASE, Marks, label_value
from tasks.cluster.ownership import disowned
from tasks.cluster.permissions import Need, refuse_forbidden
from tasks.cluster.yaml_diff import diff_of
from tasks.domain.errors import InputError, PermanentError
from tasks.domain.model import Address, Change, Lease, Slot, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.routers.service_names import ServiceNames
from tasks.routers.slot_services import SlotServices


class BorrowedRoute(ABC):
    """Splits one service's requests by a route object of the user's; see `tasks.routers.base.Router`.

    What is particular to a router are pure functions of the object's ``spec``, and the kinds it may have.
    """

    kinds: tuple[Kind, ...]
    field: str
    """The key of the service file that names the object: ``router.virtual_service``."""

    def __init__(self, service: ServiceFile) -> None:
        self.service = service
        self.services = SlotServices(service)
        self.cluster = self.services.cluster
        self.names: ServiceNames = self.services.names
        self.marks = Marks.of(service.service)

    # What each router says of its own objects. Pure.

    @abstractmethod
    def named(self) -> str | None:
        """The object's name in the service file; None where it is to be found."""

    @abstractmethod
    def leads_here(self, spec: Json) -> bool:
        """Whether a route in *spec* leads to the users' Service, or to one of a slot."""

    @abstractmethod
    def is_borrowed(self, spec: Json) -> bool:
        """Whether a slot's Service stands in *spec*."""

    @abstractmethod
    def refuse(self, spec: Json, traffic: Traffic) -> None:
        """Find what of *traffic* this router cannot do.

        Raises:
            InputError: It names the key of the service file; not retried.
        """

    @abstractmethod
    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """The user's own *spec* with the routes that lead to the service split as *traffic* says."""

    @abstractmethod
    def restored(self, now: Json, original: Json) -> Json:
        """*now* with our routes as they are in *original*; what the user has changed meanwhile stays."""

    @abstractmethod
    def split_of(self, spec: Json) -> Split:
        """The shares that a borrowed *spec* gives.

        Raises:
            ValueError: It gives none that add up, as after another's edit.
        """

    def needs(self) -> Sequence[Need]:
        """What may have to be done, beside what every release on Kubernetes may have to."""
        return [(kind, "", "get list update") for kind in self.kinds if self.cluster.knows(kind)]

    def prepare(self, spec: Json, traffic: Traffic, lease: Lease) -> None:  # noqa: B027 - few routers have anything to do here
        """What has to be there before the object is written."""

    def settle(self, written: Json, traffic: Traffic, lease: Lease) -> None:  # noqa: B027 - few routers have anything to do here
        """What has to happen after the object was written."""

    def tidy(self, lease: Lease) -> None:  # noqa: B027 - few routers have anything to do here
        """What has to go once the object is given back."""

    @property
    def asks_proxies(self) -> bool:
        """The API server knows what is asked for, not what the proxies serve."""
        return False

    def check(self) -> None:
        """See `Router.check`.

        Raises:
            InputError: The server has no such objects, or the service file does not fit the one there is; not retried.
            PermanentError: A permission is missing; not retried.
        """
        if not any(self.cluster.knows(kind) for kind in self.kinds):
            names = " or ".join(kind.name for kind in self.kinds)
            raise InputError("router.kind", self.service.router.kind, f"a cluster that has {names}")
        refuse_forbidden(self.cluster, self.needs())
        self.services.users()
        self.services.own_selector()
        self.services.refuse_taken()
        _, found = self.find()
        for traffic in self._wishes():
            self.refuse(self._own(found), traffic)

    def changes(self) -> tuple[Change, ...]:
        """See `Router.changes`: how the object looks while the first share is out."""
        kind, found = self.find()
        own = self._own(found)
        changed = found | {"spec": self.routed(own, self._wishes()[-1])}
        subject = self.cluster.subject(kind, found["metadata"]["name"])
        return (Change(subject, "change", diff_of(found, changed)),)

    def register(self, lease: Lease) -> None:
        """See `Router.register`: a Service for the slot that has all requests, and the routes lead there.

        The users' Service may select the pods of all slots, and then no other may run before that.
        """
        lease.check()
        self.check()
        live = self.live()
        shares = live.shares if live else {}
        for slot in shares:
            self.services.ensure(slot, lease)
            self.services.await_endpoints(slot, self.services.addresses(slot))
        _, found = self.find()
        serves = all(self.services.addresses(slot) for slot in shares)
        if live and len(shares) == 1 and serves and not self.is_borrowed(found["spec"]):
            self.write(Traffic(live), lease)

    def live(self) -> Split | None:
        """See `Router.live`: what the API server has.

        Raises:
            PermanentError: The object's weights do not add up: somebody else has edited it; not retried.
        """
        kind, found = self.find()
        if not self.is_borrowed(found["spec"]):
            return self.services.split_at_rest()
        try:
            return self.split_of(found["spec"])
        except ValueError as error:
            subject = self.cluster.subject(kind, found["metadata"]["name"])
            msg = f"{subject}: {error}"
            raise PermanentError(msg) from error

    def write(self, traffic: Traffic, lease: Lease) -> Split:
        """See `Router.write`: a compare-and-set on the object."""
        lease.check()
        kind, found = self.find()
        self._refuse_newer(kind, found, lease)
        own = self._own(found)
        self.refuse(own, traffic)
        self._refuse_empty(traffic, lease)
        self.prepare(own, traffic, lease)

        def edit(now: Json) -> Json:
            own = self._own(now)
            said = json.dumps(own, sort_keys=True, separators=(",", ":"))
            marks = self.marks
            ours = {marks.original: said, marks.epoch: str(lease.epoch)}
            ours[marks.release] = label_value(lease.release)
            now["metadata"]["annotations"] = annotations_of(now) | ours
            return now | {"spec": self.routed(own, traffic)}

        written = self.change(kind, found, edit, lease)
        self.settle(written, traffic, lease)
        return traffic.split

    def publish(self, slot: Slot, addresses: Collection[Address], lease: Lease) -> None:
        """See `Router.publish`: the slot's Service finds its pods by itself; without any it goes."""
        if not addresses:
            self.services.remove(slot, lease)
            return
        self.services.ensure(slot, lease)
        ready = {address.host for address in self.services.addresses(slot)}
        self.services.await_endpoints(slot, [one for one in addresses if one.host in ready])

    def published(self, slot: Slot) -> tuple[Address, ...]:
        """See `Router.published`."""
        return self.services.addresses(slot)

    def drain(self, slot: Slot, within: timedelta) -> bool:
        """See `Router.drain`: nobody can be asked, so the time is waited out."""
        if not self.services.addresses(slot):
            return True
        time.sleep(within.total_seconds())
        return False

    def give_back(self, lease: Lease) -> bool:
        """See `Router.give_back`."""
        lease.check()
        kind, found = self.find()
        self._refuse_newer(kind, found, lease)
        if not self.is_borrowed(found["spec"]) and not annotations_of(found).keys() & self.marks.all:
            self.tidy(lease)
            return True
        live = self.live()
        if live is None or len(live.shares) != 1:
            return False
        if not self.services.point_users_to(next(iter(live.shares)), lease):
            return False
        self.change(kind, found, self._returned, lease)
        self.change(kind, found, disowned, lease)
        self.tidy(lease)
        return True

    def preview_url(self) -> str | None:
        """See `Router.preview_url`: inside the cluster it is the slot's Service."""
        return None

    def change(self, kind: Kind, found: Json, edit: Callable[[Json], Json | None], lease: Lease) -> Json:
        """Compare-and-set on the borrowed object; see `Cluster.change`."""
        return self.cluster.change(kind, found["metadata"]["name"], edit, lease, epoch=self.marks.epoch)

    def find(self) -> tuple[Kind, Json]:
        """The one object whose routes lead to the service.

        Raises:
            InputError: There is none, or there are several; not retried.
            TransientError: The API server does not answer; retried.
        """
        everything = [(kind, one) for kind in self.kinds for one in self.cluster.list(kind)]
        found = [(kind, one) for kind, one in everything if self._is_meant(one)]
        if len(found) == 1:
            return found[0]
        subjects = sorted(self.cluster.subject(kind, one["metadata"]["name"]) for kind, one in found)
        names = " or ".join(kind.name for kind in self.kinds)
        expected = f"one {names} with a route to Service/{self.names.namespace}/{self.names.users}"
        raise InputError(self.field, ", ".join(subjects) or self.named(), expected)

    def _refuse_newer(self, kind: Kind, found: Json, lease: Lease) -> None:
        refuse_newer(found, lease, self.cluster.subject(kind, found["metadata"]["name"]), self.marks.epoch)

    def _is_meant(self, found: Json) -> bool:
        if RELEASE in labels_on(found):  # one that Davy has made
            return False
        return self.named() in (None, found["metadata"]["name"]) and self.leads_here(found["spec"])

    def _own(self, found: Json) -> Json:
        """What the object says where no release uses it: its own words, also where the user has just said them."""
        original = annotations_of(found).get(self.marks.original)
        if original is None or not self.is_borrowed(found["spec"]):
            return dict(found["spec"])
        return self.restored(found["spec"], json.loads(original))

    def _returned(self, found: Json) -> Json:
        spec = self._own(found)
        left = {key: text for key, text in annotations_of(found).items() if key not in self.marks.all}
        found["metadata"]["annotations"] = left
        if not left:
            del found["metadata"]["annotations"]
        return found | {"spec": spec}

    def _wishes(self) -> list[Traffic]:
        """What the service file will ask for, at its simplest and at its fullest."""
        service = self.service
        split = Split({Slot.BLUE: 9_000, Slot.CANDIDATE: 1_000})
        matches = tuple(rule.to_match() for rule in service.matches)
        mirror = service.mirror
        return [
            Traffic(
                Split.all_to(Slot.BLUE),
                mirror=Slot.CANDIDATE if mirror else None,
                mirror_share=mirror.share if mirror else 0,
            ),
            Traffic(
                split,
                matched=Slot.CANDIDATE if matches else None,
                matches=matches,
                affinity=service.affinity.cookie if service.affinity else None,
                affinity_key="release",
            ),
        ]

    def _refuse_empty(self, traffic: Traffic, lease: Lease) -> None:
        """No request goes to a slot that has no ready pod behind its Service."""
        for slot in filter(traffic.reaches, Slot):
            if not self.services.addresses(slot):
                msg = f"{self.names.of(slot)}: found no ready pod, expected one before requests go there"
                raise PermanentError(msg)
            self.services.ensure(slot, lease)
            self.services.await_endpoints(slot, self.services.addresses(slot)[:1])
