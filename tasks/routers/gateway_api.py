"""Gateway API: shares by an HTTPRoute or GRPCRoute of the user's own, whatever controller serves it.

Controllers say in the route's status what they make of it, so a write waits for them, and what one of them
refuses is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tasks.cluster import Json
from tasks.cluster.cluster import annotations_of
from tasks.cluster.kinds import GRPC_ROUTE, HTTP_ROUTE, SERVICE, Kind
from tasks.cluster.pods import condition, condition_message
from tasks.domain.errors import InputError, PermanentError, TransientError
from tasks.domain.kubernetes import GatewayRouter
from tasks.domain.model import Lease, Split, Traffic
from tasks.domain.spec import ServiceFile
from tasks.domain.units import WHOLE, format_share
from tasks.routers.borrowed import BorrowedRoute
from tasks.routers.gateway_rules import FIELD, GatewayRules
from tasks.routers.split_routes import refuse_unasked

BACKEND_TLS = Kind(
    "BackendTLSPolicy", "backendtlspolicies", "gateway.networking.k8s.io", ("v1", "v1alpha3", "v1alpha2")
)
_SAID = ("Accepted", "ResolvedRefs")
"""The conditions by which a parent says whether it serves a route."""
_POLL = 0.1


class GatewayApi(BorrowedRoute):
    """The router of one service; see `tasks.routers.base.Router`."""

    kinds = (HTTP_ROUTE, GRPC_ROUTE)
    field = FIELD

    def __init__(self, service: ServiceFile) -> None:
        super().__init__(service)
        if not isinstance(service.router, GatewayRouter):
            raise InputError("router.kind", service.router.kind, "gateway_api")
        self._router = service.router
        self._rules = GatewayRules(self.names)
        self._kind = HTTP_ROUTE

    def named(self) -> str | None:
        """See `BorrowedRoute.named`."""
        return self._router.route

    def leads_here(self, spec: Json) -> bool:
        """See `BorrowedRoute.leads_here`."""
        return self._rules.leads_here(spec)

    def is_borrowed(self, spec: Json) -> bool:
        """See `BorrowedRoute.is_borrowed`."""
        return self._rules.is_borrowed(spec)

    def refuse(self, spec: Json, traffic: Traffic) -> None:
        """See `BorrowedRoute.refuse`: what can be built can be done, but for cookies in GRPCRoutes."""
        if self._kind is GRPC_ROUTE:
            refuse_unasked(traffic, ("matches", "mirror"), "a GRPCRoute", "an HTTPRoute: gRPC has no cookies")
            if any(match.kind == "cookie" for match in traffic.matches):
                raise InputError("matches", "a cookie, with a GRPCRoute", "headers: gRPC has no cookies")
        self._rules.routed(spec, traffic)

    def routed(self, spec: Json, traffic: Traffic) -> Json:
        """See `BorrowedRoute.routed`."""
        return self._rules.routed(spec, traffic)

    def restored(self, now: Json, original: Json) -> Json:
        """See `BorrowedRoute.restored`."""
        return self._rules.restored(now, original)

    def split_of(self, spec: Json) -> Split:
        """See `BorrowedRoute.split_of`."""
        return self._rules.split_of(spec)

    def find(self) -> tuple[Kind, Json]:
        """See `BorrowedRoute.find`."""
        self._kind, found = super().find()
        return self._kind, found

    def check(self) -> None:
        """See `Router.check`: also that the slots' Services would be spoken to like the users' one.

        Raises:
            InputError: A policy asks for TLS to the users' Service, by its name; not retried.
        """
        super().check()
        if not self.cluster.knows(BACKEND_TLS) or self.cluster.refuses("list", BACKEND_TLS):
            return
        for policy in self.cluster.list(BACKEND_TLS):
            for target in policy["spec"].get("targetRefs") or []:
                if (target.get("kind"), target.get("name")) == (SERVICE.name, self.names.users):
                    subject = self.cluster.subject(BACKEND_TLS, policy["metadata"]["name"])
                    expected = "a Service without one: its slots' Services would be spoken to without TLS"
                    raise InputError("router.service", f"{self.names.users} with {subject}", expected)

    def write(self, traffic: Traffic, lease: Lease) -> Split:
        """See `Router.write`: returns once every controller serves it.

        Raises:
            TransientError: One has not said so in time; retried.
            PermanentError: One refuses it, and what it served before is there again; not retried.
            InputError: The server knows no shares of mirrors, and drops them; not retried.
        """
        kind, before = self.find()
        split = super().write(traffic, lease)
        written = self.cluster.need(kind, before["metadata"]["name"])
        try:
            self._refuse_lost_share(written, traffic)
            self._await_accepted(kind, written)
        except PermanentError:
            if _is_accepted(before):
                self._put_back(kind, before, written, lease)
            raise
        return split

    def _refuse_lost_share(self, written: Json, traffic: Traffic) -> None:
        if traffic.mirror is None or traffic.mirror_share in (0, WHOLE):
            return
        mirrors = self._rules.mirrors(written["spec"])
        if any(one.keys().isdisjoint(("percent", "fraction")) for one in mirrors):
            expected = f"100%, or a server whose {self._kind} knows shares of mirrors (Gateway API 1.3)"
            raise InputError("mirror.share", format_share(traffic.mirror_share), expected)

    def _await_accepted(self, kind: Kind, written: Json) -> None:
        """Return once every parent that says anything says that it serves what was written."""
        generation = int(written["metadata"]["generation"])
        deadline = time.monotonic() + self._router.settle.total_seconds()
        name, seen = written["metadata"]["name"], written
        while not _is_accepted(seen, generation):
            if time.monotonic() > deadline:
                subject = self.cluster.subject(kind, name)
                if refusals := list(_refusals(seen, generation)):
                    msg = f"{subject}: {'; '.join(refusals)}, expected it to be served"
                    raise PermanentError(msg)
                msg = f"{subject}: generation {generation} not looked at by every controller yet, expected it to be served"
                raise TransientError(msg)
            time.sleep(_POLL)
            seen = self.cluster.need(kind, name)

    def _put_back(self, kind: Kind, before: Json, written: Json, lease: Lease) -> None:
        """What was there before, where nobody has written the object since."""
        marks = {key: text for key, text in annotations_of(before).items() if key in self.marks.all}
        if self.marks.original in marks:
            marks[self.marks.epoch] = str(lease.epoch)

        def edit(now: Json) -> Json | None:
            if now["spec"] != written["spec"]:
                return None
            kept = {
                key: text for key, text in annotations_of(now).items() if key not in self.marks.all
            } | marks
            metadata = {key: value for key, value in now["metadata"].items() if key != "annotations"}
            return now | {
                "spec": before["spec"],
                "metadata": metadata | ({"annotations": kept} if kept else {}),
            }

        self.change(kind, before, edit, lease)


def _parents(found: Json, generation: int) -> Iterator[tuple[str, Json, int]]:
    """Each parent that still says something: its name, what it says, and of which generation."""
    for parent in (found.get("status") or {}).get("parents") or []:
        said = [one for one in parent.get("conditions") or [] if one["type"] in _SAID]
        seen = min((int(one.get("observedGeneration", generation)) for one in said), default=0)
        if said and seen >= generation - 1:  # one that has missed more is gone
            ref = parent["parentRef"]
            yield f"{ref.get('kind', 'Gateway')}/{ref['name']}", {"status": parent}, seen


def _is_accepted(found: Json, generation: int | None = None) -> bool:
    """Whether all who serve a route say that they serve this generation of it, or its own."""
    wanted = generation or int(found["metadata"]["generation"])
    return all(
        seen >= wanted and all(condition(parent, said) in ("True", "") for said in _SAID)
        for _, parent, seen in _parents(found, wanted)
    )


def _refusals(found: Json, generation: int) -> Iterator[str]:
    """In words, who does not serve this generation, and why."""
    for name, parent, seen in _parents(found, generation):
        for said in _SAID:
            if seen >= generation and condition(parent, said) == "False":
                yield f"not {said} by {name} ({condition_message(parent, said)})"
