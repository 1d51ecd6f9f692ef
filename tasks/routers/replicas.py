"""Router: no proxy at all. Ready pods behind the users' Service all get as many requests; their number is the split.

While a release runs, the Service selects exactly the pods of one slot, or, where requests are split, what it
selects by itself: the pods of all slots. An annotation holds what it selected before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from datetime import timedelta

from tasks.cluster import Json
from tasks.cluster.cluster import annotations_of, refuse_newer
from tasks.cluster.kinds import DEPLOYMENT, POD, SERVICE
from tasks.cluster.labels import VERSION_LABEL, Marks, label_value
from tasks.cluster.pods import address_of, is_ready
from tasks.cluster.yaml_diff import diff_of
from tasks.domain.errors import GoneError, InputError, PermanentError, TransientError
from tasks.domain.model import Address, Change, Lease, Slot, Split, Traffic
from tasks.domain.spec import BlueGreen, ServiceFile
from tasks.routers.slot_services import SlotServices

_TAKE_UP = timedelta(seconds=10)
"""How long the endpoint controller may take to list the pods that are selected."""
_POLL = 0.05
_OVER = ("Succeeded", "Failed")
"""Phases of pods that no request can reach any more."""


class Replicas:
    """Splits one service's requests by the selector of its Service; see `tasks.routers.base.Router`."""

    def __init__(self, service: ServiceFile) -> None:
        self.service = service
        self.services = SlotServices(service)
        self.cluster = self.services.cluster
        self.name = self.services.names.users
        self.subject = self.cluster.subject(SERVICE, self.name)
        self.marks = Marks.of(service.service)

    @property
    def asks_proxies(self) -> bool:
        """Each node takes up new endpoints by itself."""
        return False

    def check(self) -> None:
        """See `Router.check`.

        Raises:
            InputError: The service file asks for what counts of replicas cannot give; not retried.
            GoneError: There is no such Service or Deployment; not retried.
        """
        service, own = self.service, self._own(self.services.users())
        _refuse(matches=len(service.matches), mirror=service.mirror, affinity=service.affinity)
        if not isinstance(service, BlueGreen) and not self._is_shared(own):
            self._refuse_exclusive(own)

    def changes(self) -> tuple[Change, ...]:
        """See `Router.changes`: how the Service looks while no request is split yet."""
        users, live = self.services.users(), self.live()
        slot = next(iter(live.shares)) if live else Slot.BLUE
        spec = users["spec"] | {"selector": self._exact(slot, self._own(users))}
        return (Change(self.subject, "change", diff_of(users, users | {"spec": spec})),)

    def register(self, lease: Lease) -> None:
        """See `Router.register`: the Service selects the slot that has all requests, and no other.

        By itself it may select the pods of all slots, and then no other may run before that.
        """
        lease.check()
        self.check()
        live = self.live()
        if live is None or len(live.shares) != 1 or self._is_borrowed(self.services.users()):
            return
        if self.services.addresses(next(iter(live.shares))):
            self.write(Traffic(live), lease)

    def live(self) -> Split | None:
        """See `Router.live`: what was asked for, where the Service still selects that; else who is behind it."""
        users = self.services.users()
        asked = annotations_of(users).get(self.marks.split)
        if asked is None:
            return self.services.split_at_rest()
        try:
            split = Split({Slot(slot): share for slot, share in json.loads(asked).items()})
            wanted = self._selector(split, self._own(users))
        except (GoneError, InputError, ValueError):  # what it was written for is gone, or it was edited
            return self.services.split_at_rest()
        return split if users["spec"]["selector"] == wanted else self.services.split_at_rest()

    def write(self, traffic: Traffic, lease: Lease) -> Split:
        """See `Router.write`: a compare-and-set on the Service's selector."""
        lease.check()
        users = self.services.users()
        refuse_newer(users, lease, self.subject, self.marks.epoch)
        _refuse(matches=len(traffic.matches), mirror=traffic.mirror, affinity=traffic.affinity)
        selector = self._selector(traffic.split, self._own(users))
        self._refuse_others(selector, traffic.split)
        said = json.dumps(traffic.split.to_json())

        def edit(now: Json) -> Json:
            own = self._own(now)
            marks = self.marks
            ours = {marks.original: json.dumps(own), marks.split: said, marks.epoch: str(lease.epoch)}
            ours[marks.release] = label_value(lease.release)
            now["metadata"]["annotations"] = annotations_of(now) | ours
            now["spec"]["selector"] = self._selector(traffic.split, own)
            return now

        self.cluster.change(SERVICE, self.name, edit, lease, epoch=self.marks.epoch)
        return self._taken_up(traffic.split)

    def publish(self, slot: Slot, addresses: Collection[Address], lease: Lease) -> None:
        """See `Router.publish`: the Service finds its pods by itself; those that it selects are waited for."""
        if not addresses:
            self.services.remove(slot, lease)  # one that another router has left
            return
        ready = {address.host for address in self.services.addresses(slot)}
        wanted = ready & {address.host for address in addresses}
        if wanted & self._selected():
            self._await(wanted)

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
        users, live = self.services.users(), self.live()
        refuse_newer(users, lease, self.subject, self.marks.epoch)
        if not annotations_of(users).keys() & self.marks.all:
            return True
        if live is None or len(live.shares) != 1:
            return False
        (slot,) = live.shares
        selector = self.services.of_users(slot, self._own(users))
        running = [pod for pod in self.cluster.list(POD, selector) if _is_running(pod)]
        if self.services.by_slot(running).keys() != {slot}:
            return False

        def edit(now: Json) -> Json:
            left = {key: text for key, text in annotations_of(now).items() if key not in self.marks.all}
            now["metadata"]["annotations"] = left
            if not left:
                del now["metadata"]["annotations"]
            now["spec"]["selector"] = selector
            return now

        self.cluster.change(SERVICE, self.name, edit, lease, epoch=self.marks.epoch)
        return True

    def preview_url(self) -> str | None:
        """See `Router.preview_url`: only the pods can be asked."""
        return None

    def _own(self, users: Json) -> dict[str, str]:
        """What the Service selects by itself, where no release uses it."""
        original = annotations_of(users).get(self.marks.original)
        return dict(json.loads(original) if original else users["spec"]["selector"])

    def _is_borrowed(self, users: Json) -> bool:
        return self.marks.split in annotations_of(users)

    def _is_shared(self, own: dict[str, str]) -> bool:
        """Whether the Service by itself selects the pods of all slots: they differ in a label that it leaves open."""
        return bool(self.services.own_selector().keys() - own.keys()) and VERSION_LABEL not in own

    def _selector(self, split: Split, own: dict[str, str]) -> dict[str, str]:
        """What the Service selects while requests are split like that.

        Raises:
            InputError: They are to be split, and the Service can select the pods of one slot only; not retried.
            GoneError: A slot has no Deployment; not retried.
        """
        if len(split.shares) == 1:
            return self._exact(next(iter(split.shares)), own)
        if not self._is_shared(own):
            self._refuse_exclusive(own)
        return own

    def _exact(self, slot: Slot, own: dict[str, str]) -> dict[str, str]:
        """Selects the pods of *slot* and no others."""
        return self.services.of_users(slot, own) | self.services.selector(slot)

    def _refuse_exclusive(self, own: dict[str, str]) -> None:
        fleet = self.service.kubernetes
        deployment = self.cluster.subject(DEPLOYMENT, fleet.deployment_of(self.service.service, Slot.BLUE))
        labels = ", ".join(sorted(own))
        strategy = getattr(self.service, "strategy", "")
        found = f"{self.service.router.kind} with {strategy}, where {self.subject} selects by {labels}"
        expected = (
            f"a label, such as track, that {deployment} (fleet.deployment) selects by and the Service does not"
            f"{f' (nor {VERSION_LABEL})' if VERSION_LABEL in own else ''}, "
            "so that it selects the pods of both versions; or blue-green; or a router that splits requests itself"
        )
        raise InputError("router.kind", found, expected)

    def _refuse_others(self, selector: dict[str, str], split: Split) -> None:
        """Each slot with a share has a ready pod, and no other slot gets one with it.

        A baseline may stay: it is the old version too, and goes next.

        Raises:
            PermanentError: Not so; not retried.
        """
        counts = self.services.by_slot(self.services.ready_pods(selector))
        missing = [slot for slot in split.shares if slot not in counts]
        others = [slot for slot in counts if slot not in (*split.shares, Slot.BASELINE)]
        if missing:
            msg = f"{self.subject}: found no ready pod of {', '.join(missing)}, expected one before requests go there"
            raise PermanentError(msg)
        if others:
            found = ", ".join(f"{counts[slot]} ready pods of {slot}" for slot in others)
            msg = f"{self.subject}: found {found}, which would get requests, expected those of {split} only"
            raise PermanentError(msg)

    def _selected(self) -> set[str]:
        """Where the ready pods are that the Service selects now."""
        pods = self.services.ready_pods(self.services.users()["spec"]["selector"])
        return {address_of(pod, self.service.kubernetes.port).host for pod in pods}

    def _taken_up(self, asked: Split) -> Split:
        """The split that the ready pods give, once the Service's endpoints are exactly those.

        A baseline that goes next is not counted any more.

        Raises:
            TransientError: They are not in time; retried.
        """
        self._await(None)
        behind = self.services.behind_users()
        counts = {slot: count for slot, count in behind.items() if slot in asked.shares}
        if not counts:
            msg = f"{self.subject}: found no pod behind it any more, expected those that were ready just now"
            raise TransientError(msg)
        return Split.by_count(counts)

    def _await(self, hosts: Collection[str] | None) -> None:
        """Return once the Service's endpoints list *hosts*; where that is None, exactly what it selects."""
        deadline = time.monotonic() + _TAKE_UP.total_seconds()
        while True:
            wanted, listed = self._selected(), {one.host for one in self.services.endpoints(self.name)}
            if listed == wanted if hosts is None else wanted & set(hosts) <= listed:
                return
            if time.monotonic() > deadline:
                msg = f"{self.subject}: {len(listed)} endpoints, expected the {len(wanted)} ready pods it selects"
                raise TransientError(msg)
            time.sleep(_POLL)


def _refuse(**asked: object) -> None:
    """Find what counts of replicas cannot do.

    Args:
        asked: By the key of the service file, what it asks for.

    Raises:
        InputError: It asks for one; not retried.
    """
    for field, found in asked.items():
        if found:
            expected = "none with router replicas: any ready pod behind the Service may get any request"
            raise InputError(field, str(found), expected)


def _is_running(pod: Json) -> bool:
    """Whether it takes requests now, or may do so yet."""
    over = (pod.get("status") or {}).get("phase") in _OVER
    return is_ready(pod) or not (over or "deletionTimestamp" in pod["metadata"])
