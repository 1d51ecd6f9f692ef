"""A shop on a real API, its releases, and what is done to it meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from kubernetes import client
from prefect.client.schemas.objects import State

from deployments.watcher import Watched
from tasks.cluster import Cluster, Json
from tasks.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    DESTINATION_RULE,
    POD,
    SERVICE,
    VIRTUAL_SERVICE,
    Kind,
)
from tasks.cluster.yaml_diff import diff_of
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.journal import Line, journal_of
from tasks.record import Record
from tasks.release import Carrier
from tests.rig.bare import run
from tests.rig.cluster import shops
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.stack import await_that
from tests.rig.world import Died, expire_lease

SHIFT, BAKE = "intent shift-traffic-candidate-20%", "intent bake-candidate-20%-1"
RULE = {"host": "shop", "trafficPolicy": {"connectionPool": {"http": {"http1MaxPendingRequests": 100}}}}
_PROGRAM = 'case "$IMAGE_TAG" in *crash*) echo no database; exit 3;; esac; exec sleep 3600'
_NOTHING: Json = {"metadata": {}}
_PROBE = 'case "$IMAGE_TAG" in *never*) exit 1;; esac'


class Scene:
    """One service with its Deployment, Service, VirtualService and DestinationRule.

    Attributes:
        world: The namespace, as its admin sees it.
        kubeconfig: By which Davy reaches it.
    """

    def __init__(self, plane: ControlPlane, namespace: str, kubeconfig: Path) -> None:
        self.plane, self.namespace, self.kubeconfig = plane, namespace, kubeconfig
        self.world = Cluster(plane.api, namespace)
        self.apps, self.core = client.AppsV1Api(plane.api), client.CoreV1Api(plane.api)
        self.dead = False
        self._acts: list[tuple[str, Callable[[], object]]] = []
        self._before: dict[str, Json] = {}

    def make(self, *, probe: bool = False, **own: Any) -> None:  # noqa: ANN401 - keys of the Deployment's spec
        """Create what its team would have in Git; wait until it runs.

        Args:
            probe: Pods are asked whether they are ready; one whose version says ``never`` never is.
        """
        container: Json = {
            "name": "app",
            "image": "shop:1.0",
            "command": ["sh", "-c", _PROGRAM],
            "ports": [{"name": "http", "containerPort": shops.PORT}],
        }
        if probe:
            container["readinessProbe"] = {"exec": {"command": ["sh", "-c", _PROBE]}, "periodSeconds": 5}
        made = shops.deployment("shop", Path())
        made["spec"]["template"]["spec"] = {"terminationGracePeriodSeconds": 2, "containers": [container]}
        made["spec"] |= own
        self.world.create(DEPLOYMENT, made)
        self.world.create(SERVICE, shops.service("shop"))
        shops.make_route(self.plane.api, self.namespace, "istio", "shop")
        self.world.create(DESTINATION_RULE, {"metadata": {"name": "shop"}, "spec": RULE})
        replicas = made["spec"]["replicas"]
        await_that(lambda: self.ready("shop") == replicas, within=120, what="own pods")
        self._before = self.seen()

    def file(self, **own: Any) -> ServiceFile:  # noqa: ANN401 - keys of the service file
        """Its service file; bakes are a moment."""
        strategy = own.pop("strategy", "canary")
        content = shops.content("shop", self.namespace, self.kubeconfig, strategy=strategy, router="istio")
        content |= {"watch": "200ms", "scale_down_delay": "0s", "abort_scale_down_delay": "0s"}
        content["fleet"] |= {"drain": "0s", "ready_within": "20s"} | own.pop("fleet", {})
        content["router"] |= {"settle": "2s"}
        content["analysis"] |= {"interval": "100ms"}
        if strategy == "canary":
            content |= {"steps": [{"share": 20, "bake": "200ms"}], "baseline": False}
        return service_adapter.validate_python(content | own)

    def release(self, version: str = "2.0", release: str = "r1", **own: Any) -> State[None]:  # noqa: ANN401
        """Carry a release by its flow."""
        return run(self.file(**own), version, release)

    def at(self, line: str, act: Callable[[], object]) -> None:
        """Have *act* done once, right after a line of the journal that begins so."""
        self._acts.append((line, act))

    def refuse_dead(self) -> None:
        """Nothing more is done by a process that is gone."""
        if self.dead:
            raise Died

    def revive(self) -> None:
        """Another process may carry the release on: the lease of the one that is gone has expired."""
        self.dead = False
        for carrier in list(Carrier._here.values()):
            carrier.lease._stop.set()
        Carrier._here.clear()
        expire_lease("shop")

    def tell(self, line: Line) -> None:
        """A line was written."""
        said = f"{line.kind} {line.key}".strip()
        for one in [one for one in self._acts if said.startswith(one[0])]:
            self._acts.remove(one)
            one[1]()

    @property
    def original(self) -> Json:
        """The VirtualService before any release."""
        return self._before["VirtualService/shop"]

    @property
    def record(self) -> Record:
        """The release as its journal tells it."""
        return Record.read(journal_of("shop", "r1"))

    def look(self, release: str = "r1", within: float = 30) -> str:
        """Let the watcher look until nothing of the release is left; how it ended, in words."""
        watched, deadline = Watched(journal_of("shop", release)), time.monotonic() + within
        while not watched.closed:
            assert time.monotonic() < deadline, [line.kind for line in self.record.lines[-6:]]
            if watched.is_ready:
                watched.look_once()
            time.sleep(0.05)
        record = Record.read(journal_of("shop", release))
        assert record.ended
        return f"{record.ended.data['outcome']}: {record.ended.data['message']}"

    def ready(self, deployment: str) -> int:
        """How many of its pods are."""
        found = self.world.read(DEPLOYMENT, deployment) or {}
        return int((found.get("status") or {}).get("readyReplicas", 0))

    def patch(self, kind: Kind, name: str, change: Callable[[Json], Json | None]) -> None:
        """Change an object by another's hand."""
        self.world.change(kind, name, lambda found: change(found) or found)

    def reweigh(self, **weights: int) -> None:
        """Give the slots other weights, as with ``kubectl edit``."""

        def edit(found: Json) -> None:
            for one in found["spec"]["http"][-1]["route"]:
                one["weight"] = weights[one["destination"]["host"].removeprefix("shop-")]

        self.patch(VIRTUAL_SERVICE, "shop", edit)

    def seen(self) -> dict[str, Json]:
        """All objects of the namespace that a release may touch, without what only the server says of them."""
        found: dict[str, Json] = {}
        for kind in (VIRTUAL_SERVICE, DESTINATION_RULE, SERVICE, DEPLOYMENT):
            for one in self.world.list(kind):
                found[f"{kind.name}/{one['metadata']['name']}"] = _plain(one)
        ours = {"app.kubernetes.io/managed-by": "davy"}
        found |= {f"ConfigMap/{one['metadata']['name']}": one for one in self.world.list(CONFIG_MAP, ours)}
        return found

    def pods(self) -> list[str]:
        """The images of the pods that are not on their way out."""
        there = [one for one in self.world.list(POD) if "deletionTimestamp" not in one["metadata"]]
        return sorted(one["spec"]["containers"][0]["image"] for one in there)

    def assert_untouched(self, *, replicas: int = 2, version: str = "1.0") -> None:
        """The user's objects are as they were, to the byte, and nothing of Davy's is left."""
        before = deepcopy(self._before)
        own = before["Deployment/shop"]["spec"]
        own["replicas"] = replicas
        own["template"]["spec"]["containers"][0]["image"] = f"shop:{version}"
        self._assert_seen(before, "blue", [f"shop:{version}"] * replicas)

    def assert_promoted(self, version: str = "2.0") -> None:
        """The other colour serves, alone and at full size, by routes that are the user's own again."""
        before, green = deepcopy(self._before), self.seen()["Deployment/shop-green"]
        before["Deployment/shop"]["spec"]["replicas"] = 0
        before["Service/shop"]["spec"]["selector"] = {"app": "shop-green"}
        self._assert_seen(before | {"Deployment/shop-green": green}, "green", [f"shop:{version}"] * 2)

    def _assert_seen(self, expected: dict[str, Json], colour: str, pods: list[str]) -> None:
        """Only those; the Service of the colour that serves may stay, since proxies may be slow to leave it."""
        now = self.seen()
        now.pop(f"Service/shop-{colour}", None)
        names = sorted({*now, *expected})
        differing = [diff_of(expected.get(name), now.get(name, _NOTHING)) for name in names]
        wrong = [f"{name}:\n{diff}" for name, diff in zip(names, differing, strict=True) if diff]
        assert not wrong, "\n".join(wrong)
        assert json.dumps(now, sort_keys=True) == json.dumps(expected, sort_keys=True)
        await_that(lambda: self.pods() == pods, what=f"only {pods}")

    def assert_told(self) -> None:
        """The journal is whole, ends once, and the requests are where it says."""
        record = self.record
        assert record.closed
        assert [len(record.all(kind)) for kind in ("opened", "ended")] == [1, 1]


def _plain(found: Json) -> Json:
    kept = {key: deepcopy(value) for key, value in found.items() if key != "status"}
    for key in ("resourceVersion", "generation", "managedFields"):
        kept["metadata"].pop(key, None)
    annotations = kept["metadata"].get("annotations") or {}
    annotations.pop("deployment.kubernetes.io/revision", None)
    return kept
