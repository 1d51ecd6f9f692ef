"""One container of a pod: pulled, configured, run, probed, restarted, stopped."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.rig.cluster.addresses import local_address
from tests.rig.cluster.kubelet_api import TROUBLE, Api, Json, calmly
from tests.rig.cluster.kubelet_back_off import BackOff
from tests.rig.cluster.kubelet_environment import ConfigError, command_of, variables_of
from tests.rig.cluster.kubelet_images import Image, Images, find_image, tag_of
from tests.rig.cluster.kubelet_probes import question, results
from tests.rig.cluster.kubelet_process import Process
from tests.rig.cluster.kubelet_status import moment, terminated, waiting
from tests.rig.cluster.kubelet_volumes import NotMountedError, all_moved, mounts_of, moved
from tests.rig.cluster.leftovers import MARK, OF_CONTAINER, end_container

_SYNC = 10
"""Seconds between two looks of a kubelet at what it could not do."""
_LEAST_GRACE = 2
"""Seconds that a container has for SIGTERM, however long its preStop hook took."""
_CANNOT_START = 128


@dataclass
class Host:
    """What all containers of a kubelet share.

    Attributes:
        folder: Of their logs.
        hurry: What the kubelet's own delays and the probes' periods are divided by.
    """

    api: Api
    session: aiohttp.ClientSession
    folder: Path
    images: Images
    hurry: float


class Container:
    """Its state is always what is to be reported.

    Args:
        changed: Called when there is something new to report.
    """

    def __init__(self, pod: Json, spec: Json, address: str, host: Host, changed: Callable[[], None]) -> None:
        self._pod, self._spec, self._address = pod, spec, address
        self._host, self._changed = host, changed
        self._grace: int = pod["spec"].get("terminationGracePeriodSeconds", 30)
        self._state, self._last = waiting("ContainerCreating"), Json()
        self._restarts = 0
        meta = pod["metadata"]
        self._log = log_of(host.folder, meta["namespace"], meta["name"], spec["name"])
        self._ready = self._started = self._ours = False
        self._leaving = False
        self._process: Process | None = None
        self._environment: Mapping[str, str] = {}
        self._mounts: Mapping[str, str] = {}

    @property
    def pid(self) -> int | None:
        """Its process, if it has one."""
        return self._process.pid if self._process else None

    def status(self) -> Json:
        """What is reported of it."""
        image = self._spec["image"]
        began = self._process or self._last or "terminated" in self._state
        return {
            "name": self._spec["name"],
            "image": image,
            "imageID": f"rig://{image}" if began else "",
            "containerID": f"rig://{self._run_id}" if began else "",
            "ready": self._ready,
            "started": self._started,
            "restartCount": self._restarts,
            "state": self._state,
            "lastState": self._last,
        }

    async def live(self) -> None:
        """Run it until it has ended for good; cancelled, its process ends at once."""
        back_off = BackOff()
        while True:
            image = await self._pull()
            command = await self._configure(image)
            began = time.monotonic()
            code = await self._run(command)
            if self._leaving or not self._goes_on(code):
                return
            await self._pause(back_off.after((time.monotonic() - began) * self._host.hurry))
            self._restarts += 1

    async def stop(self, grace: float) -> None:
        """End its process as a kubelet does: preStop, SIGTERM, SIGKILL when the time is over."""
        process, deadline = self._process, time.monotonic() + grace
        if not process:
            return
        self._ours = True
        with suppress(OSError):  # a timeout is one
            async with asyncio.timeout(grace):
                await self._before_stop()
        process.terminate()
        if not await process.ends_within(max(deadline - time.monotonic(), _LEAST_GRACE)):
            process.kill()

    def leave(self) -> bool:
        """It is not started again; whether it has a process now."""
        self._leaving = True
        return self._process is not None

    async def _pull(self) -> Image:
        name, back_off = self._spec["image"], BackOff()
        while not (image := find_image(self._host.images, name)):
            said = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}"'
            self._become(
                waiting("ErrImagePull", f"rpc error: code = NotFound desc = {said}: {name}: not found")
            )
            await self._wait(_SYNC / 2)
            self._become(waiting("ImagePullBackOff", f'Back-off pulling image "{name}"'))
            await self._wait(back_off.after(0) or _SYNC)
        return image

    async def _configure(self, image: Image) -> Sequence[str]:
        """Set its environment; its command."""
        while True:
            try:
                self._mounts = await mounts_of(self._pod, self._spec, self._host.folder, self._find)
                asked = await variables_of(self._pod, self._spec, self._address, self._find)
            except NotMountedError:  # a kubelet tells it in an event only
                await self._wait(_SYNC)
                continue
            except ConfigError as error:
                self._become(waiting("CreateContainerConfigError", str(error)))
                await self._wait(_SYNC)
                continue
            except TROUBLE:
                await calmly()
                continue
            asked = {**image.environment, "IMAGE_TAG": tag_of(self._spec["image"]), **asked}
            self._environment = self._surroundings() | all_moved(asked, self._mounts)
            return command_of(self._spec, image.entrypoint, asked)

    async def _run(self, command: Sequence[str]) -> int:
        """One process, from its start to its end; its exit code."""
        began, self._ours = moment(), False
        try:
            process = self._start(command)
        except (OSError, IndexError, ValueError) as error:
            self._become(terminated(_CANNOT_START, began, ours=True, reason="StartError", message=str(error)))
            return _CANNOT_START
        self._process = process
        self._started = "startupProbe" not in self._spec
        self._ready = self._started and "readinessProbe" not in self._spec
        self._become({"running": {"startedAt": began}})
        probing = asyncio.create_task(self._probe(process))
        try:
            await asyncio.wait([process.ended, probing], return_when=asyncio.FIRST_COMPLETED)
            if not process.ended.done():
                probing.result()  # what went wrong with it
        finally:
            probing.cancel()
            process.kill()
            end_container(self._run_id)
            self._process, self._ready, self._started = None, False, False
            code = process.ended.result()
            self._become(terminated(code, began, ours=self._ours))
        return code

    async def _probe(self, process: Process) -> None:
        """Ask for as long as the process lives."""
        async for well in self._results("startupProbe"):
            if well:
                break
            await self.stop(self._grace)
        if not self._started:
            self._started, self._ready = True, "readinessProbe" not in self._spec
            self._changed()
        await asyncio.gather(self._follow_readiness(), self._follow_liveness())
        await process.ends_within()

    async def _follow_readiness(self) -> None:
        async for well in self._results("readinessProbe"):
            if well != self._ready:
                self._ready = well
                self._changed()

    async def _follow_liveness(self) -> None:
        async for well in self._results("livenessProbe"):
            if not well and not self._leaving:
                await self.stop(self._grace)
                return

    def _results(self, name: str) -> AsyncIterator[bool]:
        probe = self._spec.get(name)
        if not probe:
            return _none()
        where = local_address(self._address)
        ask = question(probe, self._spec, where, self._host.session, self._exec)
        return results(probe, ask, self._host.hurry)

    async def _before_stop(self) -> None:
        hook = self._spec.get("lifecycle", {}).get("preStop", {})
        if "exec" in hook:
            await self._exec(hook["exec"]["command"])
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])

    async def _exec(self, command: list[str]) -> int:
        """Run something beside the container's process; its exit code."""
        process = self._start(command)
        try:
            await process.ends_within()
        finally:
            process.kill()
        return process.ended.result()

    def _start(self, command: Sequence[str]) -> Process:
        """A process of the container.

        Raises:
            OSError: There is no such program.
        """
        here = [moved(part, self._mounts) for part in command]
        environment = {**self._environment, OF_CONTAINER: self._run_id}
        return Process(here, environment, self._log, self._spec.get("workingDir"))

    async def _pause(self, seconds: float) -> None:
        """Wait before the next start, if it is not at once."""
        self._last = {"terminated": self._state["terminated"]}
        if not seconds:
            return
        pod = self._pod["metadata"]
        whom = f"container={self._spec['name']} pod={pod['name']}_{pod['namespace']}({pod['uid']})"
        message = f"back-off {_duration(seconds)} restarting failed {whom}"
        self._become(waiting("CrashLoopBackOff", message))
        await self._wait(seconds)

    def _goes_on(self, code: int) -> bool:
        policy = self._pod["spec"].get("restartPolicy", "Always")
        return policy == "Always" or (policy == "OnFailure" and code != 0)

    def _surroundings(self) -> dict[str, str]:
        folder = str(self._host.folder)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        host = self._pod["metadata"]["name"]
        return {"PATH": path, "HOME": folder, "DAVY_HOME": folder, "HOSTNAME": host, MARK: folder}

    async def _find(self, kind: str, name: str) -> Json | None:
        own = "" if kind == "persistentvolumes" else f"namespaces/{self._pod['metadata']['namespace']}/"
        return await self._host.api.find(f"/api/v1/{own}{kind}/{name}")

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._host.hurry)

    @property
    def _run_id(self) -> str:
        return f"{self._pod['metadata']['uid']}-{self._spec['name']}-{self._restarts}"

    def _become(self, state: Json) -> None:
        self._state = state
        self._changed()


def log_of(folder: Path, namespace: str, pod: str, container: str) -> Path:
    """What a container's processes write to."""
    return folder / f"{namespace}_{pod}_{container}.log"


def _duration(seconds: float) -> str:
    """As Go writes it: 10s, 1m20s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


async def _none() -> AsyncIterator[bool]:
    for nothing in ():
        yield nothing
