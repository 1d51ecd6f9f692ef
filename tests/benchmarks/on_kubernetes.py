"""kubernetes-live and kubernetes-detection: Davy on a real API server, with a real Envoy as the mesh.

Live: from asking the Istio router for a split to Envoy's serving it, beside a plain update of the same
VirtualService in the same run. Detection: from the first bad answer of a version that errs always to
weight 0 in Envoy, and to its last request; metrics come from a Prometheus that scrapes twice a second.

They need `KUBEBUILDER_ASSETS`, as the tests do.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from kubernetes import client

from tasks.domain.model import Revision, Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.domain.spec import service_adapter
from tasks.fleets import open_fleet
from tasks.journal import FileLease, take
from tasks.routers.istio import Istio
from tests.benchmarks.bench import Bench
from tests.benchmarks.figure import Figure, percentile_99
from tests.rig.cluster import shops
from tests.rig.cluster.control_plane import ControlPlane, free_ports, running
from tests.rig.cluster.crds import crds_folder, install_crds
from tests.rig.cluster.fixtures import new_namespace
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.kubelet_images import Image
from tests.rig.cluster.mesh import Entry, Mesh
from tests.rig.cluster.stage import Cell, ClusterStage
from tests.rig.stack import ROOT, await_that

LIVE, DETECTION = "kubernetes-live", "kubernetes-detection"
WRITES = 50
RUNS = 3
AIM = 2.0
"""Seconds: two scrapes, a check of the guard each half second, and a second more."""


@contextmanager
def a_cluster(folder: Path) -> Iterator[ControlPlane | None]:
    """A control plane with a kubelet; None where there is none to be had."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        print(f"{LIVE}, {DETECTION}: need KUBEBUILDER_ASSETS", file=sys.stderr)  # noqa: T201 - for who measures
        yield None
        return
    shop = Image(entrypoint=(sys.executable, str(ROOT / "infra" / "local" / "shop.py")))
    (folder / "kubelet").mkdir(parents=True)
    with running(Path(assets)) as plane, Kubelet(plane.kubeconfig, folder / "kubelet", {"shop": shop}):
        install_crds(plane, crds_folder())
        yield plane


@dataclass(frozen=True)
class Routed:
    """A shop with a candidate, its VirtualService, and the mesh that serves it."""

    router: Istio
    lease: FileLease
    mesh: Mesh
    read: Callable[[], shops.Json]
    write: Callable[[shops.Json], shops.Json]


def measure_live() -> list[Figure]:
    """One write by Davy, one plain update, and so on."""
    with TemporaryDirectory() as folder, a_cluster(Path(folder)) as plane:
        if plane is None:
            return []
        os.environ["DAVY_HOME"] = folder
        settings.cache_clear()
        with routed(plane, Path(folder)) as shop:
            both = [(by_davy(shop, 1000 + n), plainly(shop, 30 + n % 40)) for n in range(WRITES)]
    davys, plain = zip(*both, strict=True)
    return [
        Figure(LIVE, f"median of {WRITES} writes", median(davys), median(plain), "ms", "a plain update's"),
        Figure(LIVE, f"p99 of {WRITES} writes", percentile_99(davys), percentile_99(plain), "ms", "likewise"),
    ]


def by_davy(shop: Routed, share: int) -> float:
    """Milliseconds until Envoy serves the split."""
    began = time.time()
    shop.router.write(Traffic(Split({Slot.BLUE: 10_000 - share, Slot.CANDIDATE: share})), shop.lease)
    return (shop.mesh.await_served(shop.read()) - began) * 1000


def plainly(shop: Routed, weight: int) -> float:
    """The same for somebody who only writes the weights."""
    found = shop.read()
    for part, share in zip(found["spec"]["http"][0]["route"], (100 - weight, weight), strict=True):
        part["weight"] = share
    began = time.time()
    return (shop.mesh.await_served(shop.write(found)) - began) * 1000


@contextmanager
def routed(plane: ControlPlane, folder: Path) -> Iterator[Routed]:
    """Two versions, each with ready pods, and all that leads to them."""
    with ExitStack() as stack:
        namespace = stack.enter_context(new_namespace(plane))
        shops.make(
            plane.api, namespace, shops.deployment("shop", folder / "shop.sqlite"), shops.service("shop")
        )
        shops.make_route(plane.api, namespace, "istio", "shop")
        service = service_adapter.validate_python(shops.content("shop", namespace, plane.kubeconfig))
        lease, candidate = take("shop", "bench"), Revision("shop", Slot.CANDIDATE, "2.0")
        fleet, router = open_fleet(service), Istio(service)
        fleet.wait_healthy(Revision("shop", Slot.BLUE, "1.0"), 2, service.fleet.ready_within)
        router.register(lease)
        fleet.deploy(candidate, 1, lease)
        fleet.wait_healthy(candidate, 1, service.fleet.ready_within)
        router.publish(Slot.CANDIDATE, [one.address for one in fleet.observe()][-1:], lease)
        ports = free_ports(2)
        entry = Entry(next(ports), "istio", namespace, "shop")
        mesh = stack.enter_context(Mesh(plane.api, folder / "mesh", [entry], admin_port=next(ports)))
        objects = client.CustomObjectsApi(plane.api)
        where = ("networking.istio.io", "v1beta1", namespace, "virtualservices", "shop")
        yield Routed(
            router,
            lease,
            mesh,
            lambda: shops.read_route(plane.api, namespace, "istio", "shop"),
            lambda body: objects.replace_namespaced_custom_object(*where, body),
        )
        lease.release_now()


def measure_detection(bench: Bench) -> list[Figure]:
    """Several releases by canary of a version that errs on every request."""
    own = {"baseline": False, "steps": [{"share": 20, "bake": "20s"}]}
    cells = [Cell("canary", "istio", f"2.{n}-down", own, name=f"down-{n}") for n in range(RUNS)]
    folder = bench.davy.home.parent / secrets.token_hex(4)
    with a_cluster(folder) as plane:
        if plane is None:
            return []
        with (
            new_namespace(plane) as namespace,
            ClusterStage(bench.davy, plane, namespace, cells, rate=80) as stage,
        ):
            seen = [detect(stage, cell) for cell in cells]
    zeros, lasts = zip(*seen, strict=True)
    return [
        Figure(DETECTION, f"weight 0, median of {RUNS}", median(zeros), AIM, "s", "the aim"),
        Figure(DETECTION, f"weight 0, worst of {RUNS}", max(zeros), AIM, "s", "the aim"),
        Figure(DETECTION, f"last request, worst of {RUNS}", max(lasts), AIM, "s", "the aim"),
    ]


def detect(stage: ClusterStage, cell: Cell) -> tuple[float, float]:
    """Seconds from the first bad answer to weight 0, and to the version's last request."""
    stage.begin(cell.service)
    said = stage.end(cell.service)
    assert said.json["outcome"] == "RolledBack", said
    await_that(lambda: stage.settle(cell.service, "1.0"), what=cell.service)
    story = stage.story(cell.service)
    bad = [one.at for one in story.requests if one.slot == "candidate"]
    zero = next(look.at for look in story.looks if look.at > bad[0] and "candidate" not in look.split)
    return zero - bad[0], bad[-1] - bad[0]
