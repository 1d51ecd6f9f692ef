"""Davy's namespace on the rig as `infra/kubernetes` makes it for a work pool, and the runs on that pool."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import yaml
from kubernetes import client, utils

from tasks.journal import Journal
from tasks.record import Record
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.stack import ROOT, Davy, await_that

Json = dict[str, Any]

NAMESPACE = "davy"
WORKER = "davy-worker"
POOL = "davy"
FOLDER = ROOT / "infra" / "kubernetes"
TEMPLATE = FOLDER / "work-pool" / "base-job-template.json"
_MANIFESTS = ("0-namespace.yaml", "1-settings.yaml", "work-pool/worker.yaml")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
"""Types of the states that a run ends in."""
_ELSEWHERE = "Deployment"
"""Who uses this runs the worker, where its health can be asked without a pod's address."""


class WorkPool:
    """A context: the manifests' objects, but for the worker's Deployment, until it is left.

    Args:
        state: The folder that the claim ``davy-state`` is bound to.
        settings: Values of the ConfigMap ``davy-settings`` that are others on this machine.
        secrets: What the Secret ``davy-secrets`` holds.
    """

    def __init__(
        self, plane: ControlPlane, state: Path, settings: Mapping[str, str], secrets: Mapping[str, str]
    ) -> None:
        self._plane, self._state = plane, state
        self._settings, self._secrets = settings, secrets
        self._core, self._batch = client.CoreV1Api(plane.api), client.BatchV1Api(plane.api)

    def __enter__(self) -> Self:
        for one in self._objects():
            utils.create_from_dict(self._plane.api, one)
        return self

    def __exit__(self, *_: object) -> None:
        self._batch.delete_collection_namespaced_job(NAMESPACE, propagation_policy="Background")
        self._core.delete_collection_namespaced_pod(NAMESPACE)

    def kubeconfig(self) -> Path:
        """The worker's own, which may do what its Role says."""
        return self._plane.service_account(WORKER, NAMESPACE)

    def jobs(self, run: str) -> Sequence[Json]:
        """The Jobs of a flow run, in the order of their making."""
        found = self._batch.list_namespaced_job(NAMESPACE, label_selector=_of(run))
        return self._plain(found.items)

    def pods(self, run: str) -> Sequence[Json]:
        """The pods of a flow run, in the order of their making."""
        found = self._core.list_namespaced_pod(NAMESPACE, label_selector=_of(run))
        return self._plain(found.items)

    def evict(self, pod: Json) -> None:
        """Delete a pod as the drain of its node does, with the time that it has to end."""
        self._core.delete_namespaced_pod(pod["metadata"]["name"], NAMESPACE)

    def _plain(self, found: Sequence[object]) -> Sequence[Json]:
        content: list[Json] = self._plane.api.sanitize_for_serialization(found)
        return sorted(content, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def _objects(self) -> Iterator[Json]:
        for name in _MANIFESTS:
            for one in yaml.safe_load_all((FOLDER / name).read_text()):
                if one["kind"] == "ConfigMap":
                    one["data"] |= self._settings
                if one["kind"] == "PersistentVolumeClaim":
                    yield self._volume(one)
                if one["kind"] != _ELSEWHERE:
                    yield one
        meta = {"name": "davy-secrets", "namespace": NAMESPACE}
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": dict(self._secrets)}

    def _volume(self, claim: Json) -> Json:
        """One of this machine, for this claim."""
        spec, meta = claim["spec"], claim["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": meta["name"]},
            "spec": {
                "capacity": spec["resources"]["requests"],
                "accessModes": spec["accessModes"],
                "hostPath": {"path": str(self._state)},
                "claimRef": {"name": meta["name"], "namespace": meta["namespace"]},
            },
        }


@dataclass(frozen=True)
class Seen:
    """A release that is baking.

    Attributes:
        pod: Its Job's pod.
        processes: Those of the pod.
        flow_run: The one that they carry.
    """

    pod: Json
    processes: Sequence[psutil.Process]
    flow_run: str


class Pool:
    """The runs on the pool.

    Args:
        folder: For the service files, and for what Prefect's command line writes.
    """

    def __init__(self, davy: Davy, cluster: WorkPool, kubelet: Kubelet, folder: Path) -> None:
        self._davy, self.cluster, self._kubelet, self._folder = davy, cluster, kubelet, folder
        self.api = f"http://127.0.0.1:{davy.environment['DAVY_PREFECT_PORT']}/api"

    def make(self) -> None:
        """Make the pool as the README says, with a variable that undoes what only this machine needs."""
        words = ["work-pool", "create", POOL, "--type", "kubernetes", "--base-job-template", str(TEMPLATE)]
        own = {"PREFECT_API_URL": self.api, "PREFECT_HOME": str(self._folder / "prefect")}
        command = [sys.executable, "-m", "prefect", *words]
        subprocess.run(command, env=self._davy.environment | own, check=True, timeout=120, cwd=ROOT)
        template = self._ask("GET", f"work_pools/{POOL}")["base_job_template"]
        template["variables"]["properties"]["env"]["default"] = {"PREFECT_HOME": "/tmp/prefect"}
        self._ask("PATCH", f"work_pools/{POOL}", {"base_job_template": template})

    def deploy(self, contents: Sequence[Json]) -> None:
        """Deploy the services, as a person does."""
        services = self._folder / "services"
        services.mkdir()
        for content in contents:
            (services / f"{content['service']}.yaml").write_text(yaml.safe_dump(content))
        said = self._davy.run("deploy", str(services), "--pool", POOL, "--json")
        assert (said.code, {one["action"] for one in said.json}) == (0, {"+"}), said

    def start(self, service: str, version: str) -> str:
        """Start a run as the form's button does, with the version alone; its id."""
        deployment = self._ask("GET", f"deployments/name/canary/{service}")
        assert deployment["work_pool_name"] == POOL
        body = {"parameters": {"version": version}, "idempotency_key": f"{service}-{version}"}
        return str(self._ask("POST", f"deployments/{deployment['id']}/create_flow_run", body)["id"])

    def cancel(self, run: str) -> None:
        """Cancel a run as the button in Prefect's UI does."""
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        assert self._ask("POST", f"flow_runs/{run}/set_state", state)["status"] == "ACCEPT"

    def see(self, run: str) -> Seen:
        """The run's pod, which runs."""
        (pod,) = self.cluster.pods(run)
        (pid,) = self._kubelet.pids(NAMESPACE, pod["metadata"]["name"]).values()
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
        carried = {one.environ().get("PREFECT__FLOW_RUN_ID", "") for one in processes[1:]}
        return Seen(pod, processes, "".join(carried))

    def end(self, run: str) -> Json:
        """Wait until the run and its pods have ended; what Prefect says of it."""

        def over() -> Json | None:
            said = self._davy.prefect_run(run)
            return said if said["state"]["type"] in FINAL else None

        said = await_that(over, 180, f"end of flow run {run}")
        await_that(lambda: self._at_rest(run), 60, f"the pods' end of flow run {run}")
        return said

    def _at_rest(self, run: str) -> bool:
        phases = {pod["status"]["phase"] for pod in self.cluster.pods(run)}
        return phases <= {"Succeeded", "Failed"} and all(map(_is_over, self.cluster.jobs(run)))

    def log(self, pod: Json) -> str:
        """What a pod wrote."""
        return self._kubelet.log(NAMESPACE, pod["metadata"]["name"], "prefect-job")

    def record(self, service: str, run: str) -> Record:
        """What the release's journal says."""
        path = self._davy.home / "journal" / service
        (file,) = path.glob(f"{service}-{run[:8]}*")
        return Record.read(Journal(file))

    def _ask(self, method: str, path: str, body: object = None) -> Json:
        answer = httpx.request(method, f"{self.api}/{path}", json=body, timeout=60).raise_for_status()
        content: Json = answer.json() if answer.content else {}
        return content


def _is_over(job: Json) -> bool:
    """Also one that Kubernetes 1.20 shows as active for ever: that it was complete is what it saw last."""
    status = job["status"]
    return not status.get("active") or bool(status.get("conditions"))


def _of(run: str) -> str:
    return f"prefect.io/flow-run-id={run}"
