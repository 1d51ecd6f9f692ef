"""The data plane of the tests' Kubernetes: a real Envoy, configured from the objects as they stand.

Users enter at ports of 127.0.0.1; Istio's, Gateway API's or ingress-nginx's objects, or the
Service alone, decide which pod each request goes to. Pods report 10.244.x.y, where nothing is;
requests go to 127.244.x.y. Nothing here shares code with Davy's routers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Self

from kubernetes.client import ApiClient

from tests.rig.cluster import translate_gateway, translate_ingress, translate_istio, translate_service
from tests.rig.cluster.mesh_config import Places, config
from tests.rig.cluster.mesh_envoy import Envoy, Refused
from tests.rig.cluster.mesh_pods import Pods
from tests.rig.cluster.mesh_source import Source
from tests.rig.cluster.mesh_watch import ApiSource
from tests.rig.cluster.translate_base import Entry, Json, Objects, Routing, Unsupported

__all__ = ["Entry", "Mesh", "Refusal", "Served"]

_TRANSLATORS: Mapping[str, Callable[[Entry, Objects], Routing]] = {
    "istio": translate_istio.translate,
    "gateway": translate_gateway.translate,
    "ingress": translate_ingress.translate,
    "service": translate_service.translate,
}
_LOOK = 0.1
"""Seconds between two looks whether it is over."""
_TOGETHER = 0.01
"""Seconds for which changes that follow one another are gathered."""


@dataclass(frozen=True)
class Served:
    """A version of an object, and when (epoch seconds) Envoy had taken up what it asks for."""

    kind: str
    namespace: str
    name: str
    resource_version: str
    at: float


@dataclass(frozen=True)
class Refusal:
    """What could not be served; what was served before goes on.

    Attributes:
        entry: Whose; None for all, when Envoy itself refuses.
    """

    at: float
    entry: Entry | None
    message: str


class Mesh:
    """Serves the entries until it is left.

    Args:
        api: A client of the API server, or any other source of objects.
        folder: For Envoy's files.
        admin_port: Of Envoy's admin interface.

    Attributes:
        log: Of requests, one JSON object a line.
        served: All versions of objects that were served, in order.
        pods: Whose an address was, and when.
    """

    def __init__(
        self, api: ApiClient | Source, folder: Path, entries: Collection[Entry], *, admin_port: int
    ) -> None:
        self.entries = tuple(entries)
        self.admin_port = admin_port
        self.log = folder / "access.jsonl"
        self.served: list[Served] = []
        self.pods = Pods()
        self._source: Source = ApiSource(api, entries) if isinstance(api, ApiClient) else api
        self.envoy = Envoy(Places(folder, self.log, admin_port))
        self._places = Places(folder, self.log, admin_port)
        self._routings: dict[Entry, Routing] = {}
        self._known: dict[tuple[str, str, str], str] = {}
        self._refusals: list[Refusal] = []
        self._news = Condition()
        self._failure: BaseException | None = None
        self._over = Event()
        self._thread = Thread(target=self._follow, name="mesh")
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self._source)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            opening.enter_context(self.envoy)
            self._update()
            if refused := [one.message for one in self._refusals if one.entry is None]:
                raise Refused(refused[0])
            self._thread.start()
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop everything.

        Raises:
            Refused: Something was refused and nobody has asked for it; not retried.
        """
        self._over.set()
        self._thread.join()
        self._open.close()
        if kind is None:
            if self._failure:
                raise self._failure
            if self._refusals:
                raise Refused("; ".join(one.message for one in self._refusals))

    def take_refusals(self) -> list[Refusal]:
        """What was refused since this was asked last; a test that says nothing of it fails at the end."""
        with self._news:
            taken, self._refusals = self._refusals, []
        return taken

    def served_at(self, one: Json) -> float | None:
        """When (epoch seconds) this version of an object was served, or a later one; None if not yet."""
        about = one["metadata"]
        with self._news:
            for served in self.served:
                is_it = (served.kind, served.namespace, served.name) == (
                    one["kind"],
                    about.get("namespace", ""),
                    about["name"],
                )
                if is_it and int(served.resource_version) >= int(about["resourceVersion"]):
                    return served.at
        return None

    def await_served(self, one: Json, within: float = 10) -> float:
        """Wait until this version of an object, or a later one, is served; when that was (epoch seconds).

        Raises:
            Refused: It, or something beside it, is refused; not retried.
            TimeoutError: It is not served in time; not retried.
        """
        with self._news:
            self._news.wait_for(lambda: self._refusals or self.served_at(one) is not None, within)
            at = self.served_at(one)
            if at is not None:
                return at
            if self._refusals:
                raise Refused(self._refusals[-1].message)
        msg = f"{one['metadata']['name']}: not served within {within} s"
        raise TimeoutError(msg)

    def _follow(self) -> None:
        """Serve what changes, until it is over."""
        try:
            while not self._over.is_set():
                if self._source.wait(_LOOK):
                    self._over.wait(_TOGETHER)
                    self._update()
        except BaseException as error:  # noqa: BLE001 - it is raised where the mesh is left
            self._failure = error

    def _update(self) -> None:
        objects = self._source.snapshot()
        self.pods.see(objects)
        refused = [entry for entry in self.entries if not self._translate(entry, objects)]
        try:
            self.envoy.apply(config(self._places, self._routings))
        except Refused as error:
            self._refuse(None, str(error))
            return
        if not refused:
            self._note(objects)
            for one, status in translate_gateway.statuses(self.entries, objects):
                self._source.write_status(one, status)

    def _translate(self, entry: Entry, objects: Objects) -> bool:
        """Whether what the entry does now is what *objects* say; else it does what it did."""
        try:
            self._routings[entry] = _TRANSLATORS[entry.kind](entry, objects)
        except Unsupported as error:
            self._refuse(entry, str(error))
            self._routings.setdefault(entry, Routing())
            return False
        return True

    def _refuse(self, entry: Entry | None, message: str) -> None:
        """Once, until something else is refused of that entry."""
        with self._news:
            last = next((one for one in reversed(self._refusals) if one.entry == entry), None)
            if last is None or last.message != message:
                self._refusals.append(Refusal(time.time(), entry, message))
            self._news.notify_all()

    def _note(self, objects: Objects) -> None:
        """These versions are served now."""
        now = time.time()
        with self._news:
            for one in (one for found in objects.values() for one in found):
                about = one["metadata"]
                key = one["kind"], about.get("namespace", ""), about["name"]
                version = about.get("resourceVersion", "")
                if self._known.get(key) != version:
                    self._known[key] = version
                    self.served.append(Served(*key, version, now))
            self._news.notify_all()
