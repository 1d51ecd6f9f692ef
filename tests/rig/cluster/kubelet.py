"""A small scheduler and kubelet: the pods of a cluster of the rig, as processes of this machine.

It takes the pods of all namespaces. Each has an address 10.244.x.y of its own, and its process listens on
127.244.x.y (`tests.rig.cluster.addresses.local_address`), which is what the pod's environment says too.
Pods are bound, run, probed, restarted and ended as the real parts do, with their words and reasons.

It knows no init containers, no `kubectl logs` and `exec`: what a pod writes is in `Kubelet.log`. A pod has no file
system of its own; how it has volumes nevertheless is told in `tests.rig.cluster.kubelet_volumes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import aiohttp

from tests.rig.cluster.addresses import Addresses
from tests.rig.cluster.kubelet_api import Api
from tests.rig.cluster.kubelet_container import Host, log_of
from tests.rig.cluster.kubelet_images import Images
from tests.rig.cluster.kubelet_node import Kind, Node
from tests.rig.cluster.leftovers import Reaper
from tests.rig.cluster.looping import Looping

CAPACITY = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "200"}


class Kubelet(Looping):
    """Works from entering to leaving; then every process of its pods has ended.

    What went wrong in it, other than the cluster's doing, is raised when it is left.

    Args:
        kubeconfig: An admin's, as the rig's control plane writes it.
        folder: For what the pods write; their ``HOME`` and ``DAVY_HOME``, too.
        images: What can be pulled; a mapping may be changed at any time.
        hurry: What a kubelet's own delays (back-off, probes' periods) are divided by. Grace periods are not.
        capacity: What the node has, as quantities by resource.
        labels: The node's, beside the usual ones.
        name: The node's; each kubelet of a cluster has its own.
        scheduler: It binds the pods that ask for this scheduler; each kubelet of a cluster is another one.
    """

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        images: Images,
        *,
        hurry: float = 10,
        capacity: Mapping[str, str] = CAPACITY,
        labels: Mapping[str, str] | None = None,
        name: str = "rig",
        scheduler: str = "default-scheduler",
    ) -> None:
        super().__init__(self._work)
        self.folder = folder
        self._kubeconfig, self._images, self._hurry = kubeconfig, images, hurry
        self._kind = Kind(name, capacity, labels or {}, scheduler)
        self._reaper = Reaper(folder)
        self._node: Node | None = None

    def __enter__(self) -> Self:
        self._reaper.__enter__()
        try:
            return super().__enter__()
        except BaseException:
            self._reaper.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            self._reaper.__exit__()
        if self._node and self._node.faults:
            message = "the rig's kubelet"
            raise BaseExceptionGroup(message, self._node.faults)

    def pids(self, namespace: str, pod: str) -> Mapping[str, int]:
        """By container, the process that runs now; empty for a pod that is not here."""
        name = f"{namespace}/{pod}"
        pods = list(self._node.pods.values()) if self._node else []
        return next((each.pids for each in pods if each.name == name), {})

    def log(self, namespace: str, pod: str, container: str) -> str:
        """What a container's processes have written so far."""
        file = log_of(self.folder, namespace, pod, container)
        return file.read_text(errors="replace") if file.exists() else ""

    async def _work(self, works: Callable[[], None], over: asyncio.Event) -> None:
        probing = aiohttp.TCPConnector(force_close=True, limit=0)
        with Addresses() as addresses:
            async with Api(self._kubeconfig) as api, aiohttp.ClientSession(connector=probing) as session:
                host = Host(api, session, self.folder, self._images, self._hurry)
                self._node = Node(host, addresses, self._kind)
                working = asyncio.create_task(self._node.work(works))
                leaving = asyncio.create_task(over.wait())
                await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                working.cancel()
                await asyncio.wait([working])
                if not working.cancelled():
                    working.result()
