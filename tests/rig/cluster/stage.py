"""Services on Kubernetes side by side: real objects, pods that are processes, requests through the mesh.

Each has the Deployment, the Service and the route that its team would have in Git; then it is
released by the `davy` command while users ask, and everything is looked at all the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from kubernetes import client

from deployments.observations import experience
from infra.local.load import Load
from tasks.domain.model import Window
from tests.rig.cluster import shops
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.exporter import Exporter
from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.mesh_log import lines_in
from tests.rig.cluster.mesh_prometheus import Prometheus
from tests.rig.cluster.recorder import MeshRecorder, request_of
from tests.rig.cluster.roles import allow
from tests.rig.services import Content
from tests.rig.stack import Davy, Running, Said, await_that
from tests.rig.stage import Story

FIRST = "1.0"
ENTRIES = {"istio": "istio", "gateway_api": "gateway", "nginx": "ingress", "replicas": "service"}
"""By router, what decides where the mesh sends requests."""
AT_ONCE = 4
SETTLED_WITHIN = 60
LONGEST = 580
POLL = 0.1


@dataclass(frozen=True)
class Cell:
    """One service and how it is released.

    Attributes:
        own: Keys of the service file that are other than usual.
        shared: Its Service can select the pods of all slots.
    """

    strategy: str
    router: str
    version: str = "2.0"
    own: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 2
    shared: bool = False
    name: str = ""

    @property
    def service(self) -> str:
        """The service's name."""
        # No name is another's with a slot's or ``-canary`` behind it: those are Davy's to give.
        strategy = self.strategy.replace("blue-green-canary", "trickle")
        return self.name or f"{self.router.replace('_', '-')}-{strategy}"


class ClusterStage:
    """A context: the services with their first version, mesh, metrics, load and recorder, until it is left."""

    def __init__(
        self,
        davy: Davy,
        plane: ControlPlane,
        namespace: str,
        cells: Sequence[Cell],
        *,
        rate: int = 30,
        identity: str = "admin",
    ) -> None:
        self.davy, self.plane, self.namespace, self.rate = davy, plane, namespace, rate
        self.cells = {cell.service: cell for cell in cells}
        self.folder = davy.home.parent / namespace
        self.identity = identity
        self.ports = {name: next(davy.ports) for name in self.cells}
        self.contents: dict[str, Content] = {}
        self._said: dict[str, Said] = {}
        self._started: dict[str, Running] = {}
        self._record = self.folder / "load.jsonl"
        self._over = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir()
        with ExitStack() as opening:
            opening.callback(self._leave)
            if self.identity != "admin":
                allow(self.plane.api, self.namespace, self.identity)
            if any(cell.router == "gateway_api" for cell in self.cells.values()):
                shops.make_gateway(self.plane.api, self.namespace)
            for cell in self.cells.values():
                self._make(cell)
            for cell in self.cells.values():
                await_that(partial(self._is_whole, cell), within=180, what=f"pods of {cell.service}")
            self._enter_mesh(opening)
            for name in self.cells:
                await_that(partial(self._is_seen, name), what=f"load on {name}")
            self._began = datetime.now(UTC)
            self._over = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.__exit__(kind, error, trace)

    def file(self, service: str) -> Path:
        """Its service file."""
        return self.folder / f"{service}.yaml"

    def url(self, service: str) -> str:
        """Where its users are."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def begin(self, service: str, version: str = "") -> Running:
        """Start a release and let it run; `end` gives what it said."""
        version = version or self.cells[service].version
        words = ("release", str(self.file(service)), "--version", version, "--json")
        self._started[service] = self.davy.start(*words)
        return self._started[service]

    def end(self, service: str) -> Said:
        """Wait for the release that was begun."""
        self._said[service] = self._started.pop(service).wait()
        return self._said[service]

    def release_all(self) -> None:
        """Release each to the end, a few side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: (self.begin(name), self.end(name)), self.cells))

    def await_share(self, service: str, slot: str, within: float = 120) -> None:
        """Wait until *slot* is seen with a share."""
        looks = self.recorder.looks[service]
        await_that(lambda: looks[-1].split.get(slot), within, f"{service}: a share for {slot}")

    def settle(self, service: str, version: str) -> bool:
        """Wait until only *version* runs, at full size, and the route is the user's own again."""
        wanted = [version] * self.cells[service].replicas
        deadline = time.monotonic() + SETTLED_WITHIN
        while [*self.recorder.censuses[service][-1].versions.values()] != wanted or self.route_is_borrowed(
            service
        ):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def route_is_borrowed(self, service: str) -> bool:
        """Whether the route object still has a release's marks."""
        annotations = self.route(service)["metadata"].get("annotations") or {}
        return any(key.startswith("davy/") for key in annotations)

    def route(self, service: str) -> Content:
        """The route object as it stands; the Service itself where there is no other."""
        return shops.read_route(self.plane.api, self.namespace, self.cells[service].router, service)

    def story(self, service: str) -> Story:
        """All that was seen of *service* until now."""
        end = datetime.now(UTC)
        began, until = self._began.timestamp(), end.timestamp()
        await_that(lambda: lines_in(self.mesh.log)[-1].at > until, what="access log")
        port = self.ports[service]
        lines = [line for line in lines_in(self.mesh.log) if line.entry == port and began < line.at < until]
        return Story(
            content=self.contents[service],
            first=self._said[service],
            said=self._said[service],
            looks=[look for look in self.recorder.looks[service] if began < look.at < until],
            censuses=[census for census in self.recorder.censuses[service] if began < census.at < until],
            requests=[request_of(line, self.mesh) for line in lines],
            users=experience(self._record, Window(self._began, end), self.url(service)),
        )

    def _make(self, cell: Cell) -> None:
        """What the service's team would have in Git, and its service file."""
        name = cell.service
        own = shops.deployment(
            name,
            self.folder / f"{name}.sqlite",
            shared=cell.shared or cell.router == "replicas",
            replicas=cell.replicas,
        )
        own["spec"]["template"]["metadata"]["labels"]["rig-service"] = name
        shops.make(self.plane.api, self.namespace, own, shops.service(name))
        shops.make_route(self.plane.api, self.namespace, cell.router, name)

    def _write_file(self, cell: Cell, prometheus: str) -> None:
        own = {"replicas": cell.replicas, **cell.own}
        content = shops.content(
            cell.service,
            self.namespace,
            self.plane.identity(self.identity),
            strategy=cell.strategy,
            router=cell.router,
            prometheus=prometheus,
            **own,
        )
        self.contents[cell.service] = content
        self.file(cell.service).write_text(yaml.safe_dump(content))

    def _enter_mesh(self, opening: ExitStack) -> None:
        ports, api = self.davy.ports, self.plane.api
        entries = [_entry(cell, self.namespace, self.ports[name]) for name, cell in self.cells.items()]
        self.mesh = opening.enter_context(Mesh(api, self.folder / "mesh", entries, admin_port=next(ports)))
        exporter = opening.enter_context(Exporter(self.mesh, next(ports)))
        prometheus = opening.enter_context(
            Prometheus(self.folder / "prometheus", next(ports), [exporter.address], interval="1s")
        )
        for cell in self.cells.values():
            self._write_file(cell, prometheus.url)
        self.recorder = opening.enter_context(MeshRecorder(self.mesh, api, self.namespace, self.ports))
        urls = [self.url(name) for name in self.cells]
        opening.enter_context(Load(urls, rate=self.rate, seconds=LONGEST, record=self._record))

    def _is_whole(self, cell: Cell) -> bool:
        found = client.AppsV1Api(self.plane.api).read_namespaced_deployment(cell.service, self.namespace)
        return found.status.ready_replicas == cell.replicas

    def _is_seen(self, service: str) -> bool:
        """The mesh has all of its pods, and has sent requests to them."""
        looks, whole = self.recorder.looks[service], self.cells[service].replicas
        asked = any(line.entry == self.ports[service] for line in lines_in(self.mesh.log))
        return asked and bool(looks) and len(looks[-1].hosts["blue"]) == whole

    def _leave(self) -> None:
        """Whatever is still under way is taken back."""
        for service, running in self._started.items():
            self.davy.run("abort", service)
            running.wait()


def _entry(cell: Cell, namespace: str, port: int) -> Entry:
    gateway = "web" if cell.router == "gateway_api" else None
    host = f"{cell.service}.example" if cell.router in ("gateway_api", "nginx") else cell.service
    return Entry(port, ENTRIES[cell.router], namespace, host, gateway=gateway)  # type: ignore[arg-type]
