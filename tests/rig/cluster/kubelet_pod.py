"""One pod on the rig's node, from its coming to its going."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tests.rig.cluster.addresses import Addresses
from tests.rig.cluster.kubelet_api import STRATEGIC, TROUBLE, Json, RefusedError, calmly
from tests.rig.cluster.kubelet_container import Container, Host
from tests.rig.cluster.kubelet_status import Conditions, conditions, moment, phase
from tests.rig.cluster.kubelet_volumes import remove

HOST_ADDRESS = "127.0.0.1"
_GONE = (404, 409)
"""Statuses of a write to a pod that is no more, or is another one of that name."""
OVER = ("Succeeded", "Failed")
"""The phases of a pod that runs nothing any more."""


class Pod:
    """Lives in a task of its own; cancelled, it loses its processes at once.

    Attributes:
        object: As the API server last told it.
    """

    def __init__(self, found: Json, host: Host, addresses: Addresses) -> None:
        self.object = found
        self._host, self._addresses = host, addresses
        self._address = addresses.take()
        self._since = moment()
        self._conditions = Conditions()
        self._changed, self._leaving = asyncio.Event(), asyncio.Event()
        specs = found["spec"]["containers"]
        self._containers = {
            spec["name"]: Container(found, spec, self._address, host, self._changed.set) for spec in specs
        }
        meta = found["metadata"]
        self.name = f"{meta['namespace']}/{meta['name']}"
        self._path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        self.see(found)

    @property
    def pids(self) -> Mapping[str, int]:
        """The process of each container that has one."""
        pids = {name: container.pid for name, container in self._containers.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def see(self, found: Json) -> None:
        """The API server tells of it again."""
        self.object = found
        self._changed.set()
        if "deletionTimestamp" in found["metadata"]:
            self._leaving.set()

    async def live(self) -> None:
        """Run it, report it, and take its object away once it has been told to go and has gone."""
        try:
            if self._leaving.is_set() or self.object.get("status", {}).get("phase") in OVER:
                await self._leaving.wait()  # an earlier kubelet had it
            else:
                await self._serve()
            await self._remove()
        finally:
            self._addresses.give_back(self._address)
            remove(self._host.folder, self.object)

    async def _serve(self) -> None:
        reporting = asyncio.create_task(self._report())
        lives = {name: asyncio.create_task(each.live()) for name, each in self._containers.items()}
        tasks = [reporting, *lives.values()]
        try:
            await self._until_leaving(tasks)
            await self._stop(lives)
            reporting.cancel()
            await self._write()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_leaving(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for its deletion; what goes wrong in a task goes wrong here."""
        leaving = asyncio.create_task(self._leaving.wait())
        pending: set[asyncio.Task[object]] = {leaving, *tasks}
        try:
            while not leaving.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            leaving.cancel()

    async def _stop(self, lives: Mapping[str, asyncio.Task[None]]) -> None:
        """End all containers in the time that the deletion grants."""
        grace = self.object["metadata"].get("deletionGracePeriodSeconds", 30)
        running = [name for name, container in self._containers.items() if container.leave()]
        for name in lives.keys() - set(running):
            lives[name].cancel()
        await asyncio.gather(*(self._containers[name].stop(grace) for name in running))
        await asyncio.gather(*lives.values(), return_exceptions=True)

    async def _report(self) -> None:
        """Write its status whenever it has changed."""
        written = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            status = self._status()
            if status != written:
                await self._write()
                written = status

    async def _write(self) -> None:
        """Write its status now, however often it takes."""
        uid = self.object["metadata"]["uid"]
        while True:
            try:
                body = {"metadata": {"uid": uid}, "status": self._status()}
                await self._host.api.ask("PATCH", f"{self._path}/status", body, STRATEGIC)
            except RefusedError as error:
                if error.status in _GONE:
                    return
            except TROUBLE:
                pass
            else:
                return
            await calmly()

    async def _remove(self) -> None:
        """Take its object away, however often it takes."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.object["metadata"]["uid"]}}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        while True:
            try:
                await self._host.api.ask("DELETE", self._path, body)
            except RefusedError as error:
                if error.status in _GONE:
                    return
            except TROUBLE:
                pass
            else:
                return
            await calmly()

    def _status(self) -> Json:
        statuses = [container.status() for container in self._containers.values()]
        now = phase(self.object["spec"].get("restartPolicy", "Always"), statuses)
        return {
            "phase": now,
            "hostIP": HOST_ADDRESS,
            "podIP": self._address,
            "podIPs": [{"ip": self._address}],
            "startTime": self._since,
            "conditions": self._conditions.dated(conditions(self.object, now, statuses)),
            "containerStatuses": statuses,
        }
