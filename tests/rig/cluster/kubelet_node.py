"""The rig's node: takes the pods that fit, and follows what the API server tells of all pods."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from tests.rig.cluster.addresses import Addresses
from tests.rig.cluster.kubelet_api import STRATEGIC, TROUBLE, Json, RefusedError, calmly
from tests.rig.cluster.kubelet_container import Host
from tests.rig.cluster.kubelet_pod import HOST_ADDRESS, OVER, Pod
from tests.rig.cluster.kubelet_scheduler import node, node_status, reasons_against
from tests.rig.cluster.kubelet_status import moment

_PODS = "/api/v1/pods"
_NODES = "/api/v1/nodes"
_NOT_ANY_MORE = (404, 409)


@dataclass(frozen=True)
class Kind:
    """What a node is.

    Attributes:
        capacity: Quantities by resource.
        labels: Beside the usual ones.
        scheduler: It gives itself the pods that ask for this one.
    """

    name: str
    capacity: Mapping[str, str]
    labels: Mapping[str, str]
    scheduler: str


class Node:
    """Used in an event loop.

    Attributes:
        pods: Those that it has, by uid.
        faults: What went wrong in the rig itself.
    """

    def __init__(self, host: Host, addresses: Addresses, kind: Kind) -> None:
        self._host, self._addresses, self._kind = host, addresses, kind
        self._object = node(kind.name, kind.labels)
        self.pods: dict[str, Pod] = {}
        self.faults: list[BaseException] = []
        self._seen: dict[str, Json] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._unplaced: asyncio.Queue[str] = asyncio.Queue()

    async def work(self, works: Callable[[], None]) -> None:
        """Go on until cancelled; then the processes of all pods have ended.

        Args:
            works: Called once it takes pods.

        Raises:
            RefusedError: The API server does not take the node.
        """
        await self._register()
        parts = [asyncio.create_task(part) for part in (self._follow(works), self._schedule())]
        try:
            await asyncio.gather(*parts)
        finally:
            for task in (*parts, *self._lives.values()):
                task.cancel()
            await asyncio.gather(*parts, *self._lives.values(), return_exceptions=True)
            with suppress(*TROUBLE):
                await self._host.api.ask("DELETE", f"{_NODES}/{self._kind.name}")

    async def _register(self) -> None:
        try:
            await self._host.api.ask("POST", _NODES, self._object)
        except RefusedError as error:
            if error.status != 409:
                raise
            await self._host.api.ask("PATCH", f"{_NODES}/{self._kind.name}", self._object, STRATEGIC)
        status = {"status": node_status(self._kind.name, self._kind.capacity, HOST_ADDRESS, moment())}
        await self._host.api.ask("PATCH", f"{_NODES}/{self._kind.name}/status", status, STRATEGIC)

    async def _follow(self, works: Callable[[], None]) -> None:
        """List and watch; after any error, list again."""
        while True:
            try:
                found = await self._host.api.ask("GET", _PODS)
                self._see_all(found["items"])
                works()
                query = {"resourceVersion": found["metadata"]["resourceVersion"]}
                async for event in self._host.api.watch(_PODS, query):
                    self._take_in(event)
            except TROUBLE:
                await calmly()

    def _see_all(self, found: list[Json]) -> None:
        for uid in self._seen.keys() - {pod["metadata"]["uid"] for pod in found}:
            self._lose(uid)
        for pod in found:
            self._see(pod)

    def _take_in(self, event: Json) -> None:
        if event["type"] == "DELETED":
            self._lose(event["object"]["metadata"]["uid"])
        else:
            self._see(event["object"])

    def _see(self, found: Json) -> None:
        uid, spec = found["metadata"]["uid"], found["spec"]
        self._seen[uid] = found
        if uid in self.pods:
            self.pods[uid].see(found)
        elif spec.get("nodeName") == self._kind.name:
            self._begin(uid, found)
        elif not spec.get("nodeName") and spec["schedulerName"] == self._kind.scheduler:
            self._unplaced.put_nowait(uid)
        if found.get("status", {}).get("phase") in OVER:
            self._place_others()

    def _begin(self, uid: str, found: Json) -> None:
        pod = Pod(found, self._host, self._addresses)
        life = asyncio.create_task(pod.live())
        life.add_done_callback(self._note)
        self.pods[uid], self._lives[uid] = pod, life

    def _lose(self, uid: str) -> None:
        """It is no more: its processes go at once."""
        self._seen.pop(uid, None)
        self.pods.pop(uid, None)
        if life := self._lives.get(uid):
            life.add_done_callback(lambda _: self._lives.pop(uid, None))
            life.cancel()
        self._place_others()

    def _note(self, life: asyncio.Task[None]) -> None:
        if not life.cancelled() and (fault := life.exception()):
            sys.stderr.write(f"the rig's kubelet: {fault!r}\n")
            self.faults.append(fault)

    def _place_others(self) -> None:
        """There may be room now."""
        for uid, pod in self._seen.items():
            if not pod["spec"].get("nodeName") and pod["spec"]["schedulerName"] == self._kind.scheduler:
                self._unplaced.put_nowait(uid)

    async def _schedule(self) -> None:
        """One pod after the other, so that none takes what another was given."""
        while True:
            uid = await self._unplaced.get()
            pod = self._seen.get(uid)
            if not pod or pod["spec"].get("nodeName") or pod["spec"].get("schedulingGates"):
                continue
            try:
                await self._place(pod)
            except TROUBLE as error:
                if not isinstance(error, RefusedError) or error.status not in _NOT_ANY_MORE:
                    await calmly()
                    self._unplaced.put_nowait(uid)

    async def _place(self, pod: Json) -> None:
        """Bind it to the node, or say on it why it does not fit."""
        others = [each for each in self._seen.values() if each["spec"].get("nodeName") == self._kind.name]
        living = [each for each in others if each.get("status", {}).get("phase") not in OVER]
        labels = self._object["metadata"]["labels"]
        against = reasons_against(pod, labels, self._kind.capacity, living)
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if not against:
            target = {"apiVersion": "v1", "kind": "Node", "name": self._kind.name}
            identity = {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": identity, "target": target}
            await self._host.api.ask("POST", f"{path}/binding", binding)
            pod["spec"]["nodeName"] = self._kind.name
        elif not _says(pod, against):
            words = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": against}
            conditions = [words | {"lastTransitionTime": moment()}]
            await self._host.api.ask(
                "PATCH", f"{path}/status", {"status": {"conditions": conditions}}, STRATEGIC
            )


def _says(pod: Json, message: str) -> bool:
    return any(each.get("message") == message for each in pod.get("status", {}).get("conditions", ()))
