"""Router: the NGINX ingress controller, by a canary Ingress beside the user's own one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from tasks.cluster import Json
from tasks.cluster.cluster import labels_on, refuse_newer
from tasks.cluster.kinds import INGRESS
from tasks.cluster.labels import EPOCH, labels_of
from tasks.cluster.labels import SERVICE as SERVICE_LABEL
from tasks.cluster.permissions import Need
from tasks.cluster.yaml_diff import diff_of
from tasks.domain.errors import GoneError, InputError, PermanentError, TransientError
from tasks.domain.kubernetes import NginxRouter
from tasks.domain.model import Change, Lease, Slot, Split, Traffic
from tasks.domain.spec import Canary
from tasks.routers import nginx_ingress
from tasks.routers.borrowed import BorrowedRoute
from tasks.routers.nginx_ingress import Beside
from tasks.routers.slot_services import SEEN_WITHIN

_LOOK = 1
"""The epoch of a canary Ingress that is only shown."""


class Nginx(BorrowedRoute):
    """Splits one service's requests by two Ingresses; see `tasks.routers.base.Router`."""

    kinds = (INGRESS,)
    field = "router.ingress"

    def named(self) -> str | None:
        """The main Ingress's name in the service file."""
        router = self.service.router
        return router.ingress if isinstance(router, NginxRouter) else None

    def leads_here(self, spec: Json) -> bool:
        """Whether a path, or all that no path takes, leads to the service."""
        return any(nginx_ingress.leading(spec, self.names))

    def is_borrowed(self, spec: Json) -> bool:
        """Whether a slot's Service stands in *spec*."""
        return any(not self.names.is_users(name) for name in nginx_ingress.leading(spec, self.names))

    def refuse(self, spec: Json, traffic: Traffic) -> None:
        """See `BorrowedRoute.refuse`; NGINX can do the same on every Ingress."""
        del spec
        nginx_ingress.refuse(traffic)

    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """The main Ingress leads to one slot."""
        return nginx_ingress.routed(spec, self.names, nginx_ingress.main_of(traffic))

    def restored(self, now: Json, original: Json) -> Json:
        """Only Services' names were changed."""
        del original
        return nginx_ingress.restored(now, self.names)

    def split_of(self, spec: Json) -> Split:
        """Where the main Ingress leads to, whatever there is beside it."""
        return Split.all_to(nginx_ingress.slot_led_to(spec, self.names))

    def needs(self) -> Sequence[Need]:
        """The canary Ingress comes and goes."""
        return [(INGRESS, "", "get list create update delete")]

    @property
    def beside(self) -> str:
        """The canary Ingress's name."""
        return f"{self.names.users}-canary"

    def check(self) -> None:
        """See `Router.check`; no other canary may be in the way."""
        service = self.service
        if isinstance(service, Canary) and any(service.has_baseline(step.share) for step in service.steps):
            raise InputError("baseline", True, "false: NGINX has one canary for a path")  # noqa: FBT003
        super().check()
        self._canary()
        _, main = self.find()
        ours = nginx_ingress.places(main["spec"], self.names)
        for one in self.cluster.list(INGRESS):
            name = one["metadata"]["name"]
            everything = nginx_ingress.all_places(one["spec"])
            if nginx_ingress.is_canary(one) and name != self.beside and ours & everything:
                subject = self.cluster.subject(INGRESS, name)
                raise InputError(self.field, subject, "no other canary for the same paths: NGINX takes one")

    def changes(self) -> tuple[Change, ...]:
        """See `Router.changes`: both Ingresses while the first share is out."""
        _, main = self.find()
        wanted = nginx_ingress.beside_of(self._wishes()[-1])
        if wanted is None or self._canary():
            return super().changes()
        canary = self._wanted(main, self._own(main), wanted, "preview", _LOOK)
        made = canary | {"apiVersion": self.cluster.api_version(INGRESS), "kind": INGRESS.name}
        return *super().changes(), Change(self._subject(), "create", diff_of(None, made))

    def live(self) -> Split | None:
        """See `Router.live`: what both Ingresses say.

        Raises:
            PermanentError: They do not fit together: somebody else has edited one; not retried.
        """
        _, main = self.find()
        at_rest = None if self.is_borrowed(main["spec"]) else self.services.split_at_rest()
        try:
            beside = nginx_ingress.read_beside(self._canary(), main, self.names)
            if not self.is_borrowed(main["spec"]):
                return at_rest and nginx_ingress.joint(at_rest, beside)
            return nginx_ingress.joint(self.split_of(main["spec"]), beside)
        except ValueError as error:
            subject = self.cluster.subject(INGRESS, main["metadata"]["name"])
            msg = f"{subject}, {self._subject()}: {error}"
            raise PermanentError(msg) from error

    def prepare(self, spec: Json, traffic: Traffic, lease: Lease) -> None:
        """The canary Ingress, where it comes before the main one; see `nginx_ingress.goes_first`."""
        _, main = self.find()
        if not self.is_borrowed(main["spec"]):  # the slot's Service may be a moment old
            time.sleep(SEEN_WITHIN.total_seconds())
        now, wanted = None, nginx_ingress.beside_of(traffic)
        with suppress(ValueError):
            now = nginx_ingress.read_beside(self._canary(), main, self.names)
        if wanted and nginx_ingress.goes_first(now, wanted):
            self._put(main, spec, wanted, lease)

    def settle(self, written: Json, traffic: Traffic, lease: Lease) -> None:
        """The canary Ingress, where it comes after the main one."""
        wanted = nginx_ingress.beside_of(traffic)
        if wanted:
            self._put(written, self._own(written), wanted, lease)
        else:
            self.tidy(lease)

    def give_back(self, lease: Lease) -> bool:
        """See `Router.give_back`; not while the canary Ingress still splits what another has led back."""
        live = self.live()
        if live is not None and len(live.shares) > 1:
            return False
        return super().give_back(lease)

    def tidy(self, lease: Lease) -> None:
        """Delete the canary Ingress as it is now; one that was written since stays."""
        found = self._canary()
        if found:
            refuse_newer(found, lease, self._subject())
            lease.check()
            self.cluster.delete(INGRESS, self.beside, found)

    def _is_meant(self, found: Json) -> bool:
        return not nginx_ingress.is_canary(found) and super()._is_meant(found)

    def _put(self, main: Json, own: Json, wanted: Beside, lease: Lease) -> None:
        """Have the canary Ingress as *wanted*.

        It is created without any share, and only then changed: a compare-and-set can't be late.
        """
        if self._canary() is None:
            lease.check()
            nothing = self._wanted(main, own, Beside(wanted.slot, 0), lease.release, lease.epoch)
            self.cluster.create(INGRESS, nothing)
        canary = self._wanted(main, own, wanted, lease.release, lease.epoch)

        def edit(now: Json) -> Json:
            return now | {"metadata": now["metadata"] | canary["metadata"], "spec": canary["spec"]}

        try:
            self.cluster.change(INGRESS, self.beside, edit, lease)
        except GoneError as error:
            lease.check()
            msg = f"{self._subject()}: deleted in the same moment, expected it to stay"
            raise TransientError(msg) from error

    def _wanted(self, main: Json, own: Json, beside: Beside, release: str, epoch: int) -> Json:
        """The canary Ingress, which goes with the main one."""
        canary = nginx_ingress.canary_of(main, own, self.names, beside)
        owner = {
            "apiVersion": self.cluster.api_version(INGRESS),
            "kind": INGRESS.name,
            "name": main["metadata"]["name"],
            "uid": main["metadata"]["uid"],
        }
        canary["metadata"] |= {
            "name": self.beside,
            "labels": labels_of(self.service.service, Slot(beside.slot), release),
            "ownerReferences": [owner],
        }
        canary["metadata"]["annotations"] |= {EPOCH: str(epoch)}
        return canary

    def _canary(self) -> Json | None:
        """Davy's canary Ingress.

        Raises:
            InputError: The one of that name is somebody else's; not retried.
        """
        found = self.cluster.read(INGRESS, self.beside)
        if found and labels_on(found).get(SERVICE_LABEL) != self.service.service:
            raise InputError(self.field, self._subject(), "this name to be free for a canary of Davy's")
        return found

    def _subject(self) -> str:
        return self.cluster.subject(INGRESS, self.beside)
