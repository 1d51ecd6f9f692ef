"""Releases on a Kubernetes work pool: `davy deploy --pool` to the end, each carried by a Job's pod.

Prefect's server, Envoy, watcher and fleet are an embedded stack's; the worker, its Role and its pool are as
`infra/kubernetes` ships them; the Jobs are made by it, and run by real controllers and the rig's kubelet.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tasks.record import Record
from tests.infra.pods import running
from tests.infra.test_kubernetes import documents, found
from tests.rig import properties
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.work_pool import FOLDER, NAMESPACE, WORKER, Json, Pool, Seen, WorkPool
from tests.rig.services import promises, shop
from tests.rig.stack import Davy
from tests.rig.stage import FIRST, Stage, Story

HOW = "prefect-kubernetes: found none, expected it: pip install -r infra/kubernetes/requirements.txt"
pytestmark = pytest.mark.skipif(find_spec("prefect_kubernetes") is None, reason=HOW)
NEW = "2.0"
OWN: dict[str, dict[str, Any]] = {
    "pool-good": {},
    "pool-cancelled": {"steps": [{"share": 20, "bake": "60s"}]},
    "pool-evicted": {"steps": [{"share": 20, "bake": "10s"}], "on_crash": "resume"},
}
"""By service: what of its file is not as usual."""
BACK_WITHIN = 30
"""Seconds that a cancelled release's traffic may take: its process has 30 s to end, and a lease lives 15 s."""
BACK = {"Aborted": "its flow run was cancelled in Prefect", "RolledBack": "nobody carries it on"}
"""How a cancelled release ends: taken back by the compensating flow, or before by the watcher, where the lease has
expired by the time that Prefect in the pod has said Cancelled."""
AUTH = "PREFECT_API_AUTH_STRING"


@dataclass(frozen=True)
class Told:
    """A release on the pool, and what is left of it.

    Attributes:
        run: What Prefect says of its flow run.
        seen: When it baked, and was disturbed or not, epoch seconds.
        log: What its last pod wrote.
    """

    story: Story
    run: Json
    record: Record
    baking: Seen
    seen: float
    jobs: Sequence[Json]
    pods: Sequence[Json]
    log: str


@dataclass(frozen=True)
class Scene:
    """All that happened.

    Attributes:
        worker: What the worker wrote.
        password: Of the credential that the worker and its Jobs show to Prefect's server.
    """

    told: Mapping[str, Told]
    worker: str
    password: str


@contextmanager
def worker(pool: Pool, folder: Path, port: int, known: Mapping[str, str]) -> Iterator[Path]:
    """The worker, with its manifest's arguments and environment, as its own service account; its log."""
    own = {
        "KUBECONFIG": str(pool.cluster.kubeconfig()),
        "PREFECT_API_URL": pool.api,
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(port),
    }
    with running(found("Deployment")[WORKER], folder, port, known, **own):
        yield folder / "log"


def settings_here(davy: Davy) -> dict[str, str]:
    """What the ConfigMap has to say of an embedded stack on this machine."""
    url = f"http://127.0.0.1:{davy.environment['DAVY_PREFECT_PORT']}"
    own = {
        name: text for name, text in davy.environment.items() if name.startswith("DAVY_") and "PORT" in name
    }
    return own | {"DAVY_PREFECT_URL": url, "DAVY_UI_URL": url, "PREFECT_API_URL": f"{url}/api"}


@pytest.fixture(scope="module")
def scene(
    davy: Davy, control_plane: ControlPlane, kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """All releases side by side, from a first version that the stack released itself."""
    folder, password = tmp_path_factory.mktemp("pool"), secrets.token_hex(16)
    known = dict.fromkeys(documents(FOLDER / "examples" / "secrets.yaml")[0]["stringData"], "of no use here")
    known["auth-string"] = f"davy:{password}"
    contents = [
        shop(name, strategy="canary", port=next(davy.ports), home=davy.home, **own)
        for name, own in OWN.items()
    ]
    with (
        Stage(davy, contents) as stage,
        WorkPool(control_plane, davy.home, settings_here(davy), known) as cluster,
    ):
        pool = Pool(davy, cluster, kubelet, folder)
        pool.make()
        pool.deploy(contents)
        with worker(pool, folder, next(davy.ports), known) as log:
            try:
                told = play(pool, stage)
            except BaseException:
                for name in OWN:
                    davy.run("abort", name)  # so that the services can leave
                raise
        yield Scene(told, log.read_text(), password)


def play(pool: Pool, stage: Stage) -> dict[str, Told]:
    """Start every release, cancel one and evict another while they bake, and see all to their ends."""
    runs = {name: pool.start(name, NEW) for name in OWN}

    def disturb(name: str) -> tuple[Seen, float]:
        stage.await_share(name, "candidate", 2000)
        seen, now = pool.see(runs[name]), time.time()
        if name == "pool-cancelled":
            pool.cancel(runs[name])
        if name == "pool-evicted":
            pool.cluster.evict(seen.pod)
        return seen, now

    with ThreadPoolExecutor(len(OWN)) as threads:
        baking = dict(zip(OWN, threads.map(disturb, OWN), strict=True))
    ends = {name: pool.end(run) for name, run in runs.items()}
    for name in OWN:
        stage.settle(name, FIRST if name == "pool-cancelled" else NEW)
    return {
        name: Told(
            stage.story(name),
            ends[name],
            pool.record(name, run),
            *baking[name],
            pool.cluster.jobs(run),
            pool.cluster.pods(run),
            pool.log(pool.cluster.pods(run)[-1]),
        )
        for name, run in runs.items()
    }


@pytest.fixture
def good(scene: Scene) -> Told:
    """The release that nobody disturbed."""
    return scene.told["pool-good"]


@pytest.fixture
def cancelled(scene: Scene) -> Told:
    """The one that was cancelled while it baked."""
    return scene.told["pool-cancelled"]


@pytest.fixture
def evicted(scene: Scene) -> Told:
    """The one whose pod was evicted while it baked."""
    return scene.told["pool-evicted"]


@pytest.fixture(params=OWN)
def each(scene: Scene, request: pytest.FixtureRequest) -> Told:
    """Each of them."""
    return scene.told[str(request.param)]


def test_a_release_is_promoted(good: Told) -> None:
    assert (good.run["state"]["type"], good.run["state"]["name"]) == ("COMPLETED", "Promoted")
    assert (str(good.record.outcome), good.record.run) == ("Promoted", good.run["id"])
    assert {one.version for one in good.story.requests[-20:]} == {NEW}
    assert [*good.story.censuses[-1].versions.values()] == [NEW] * good.story.content["replicas"]


def test_nobody_noticed(each: Told) -> None:
    assert each.story.users.requests > 100
    assert each.story.users.failures == ()
    assert properties.wrong_sums(each.story.looks) == []
    assert properties.unhealthy_shares(each.story.looks) == []
    whole = each.run["state"]["name"] == "Promoted"
    assert properties.unpromised_shares(each.story.plateaus, promises(each.story.content), whole=whole) == []


@pytest.mark.parametrize("name", ["pool-good", "pool-cancelled"])
def test_the_pod_of_one_job_carried_it(scene: Scene, name: str) -> None:
    told = scene.told[name]
    (job,), (pod,) = told.jobs, told.pods
    assert told.run["infrastructure_pid"] == f"{NAMESPACE}:{job['metadata']['name']}"
    assert pod["metadata"]["labels"]["job-name"] == job["metadata"]["name"]
    assert (told.baking.pod["metadata"]["uid"], told.baking.pod["status"]["phase"]) == (
        pod["metadata"]["uid"],
        "Running",
    )
    assert told.baking.flow_run == told.run["id"]


def test_the_jobs_pod_has_succeeded(good: Told) -> None:
    assert good.pods[0]["status"]["phase"] == "Succeeded"
    assert good.jobs[0]["status"]["succeeded"] == 1
    assert "Promoted" in good.log


def test_the_code_is_the_images_and_is_not_copied(good: Told) -> None:
    assert "Running 1 deployment pull step(s)" in good.log
    assert "Downloading" not in good.log


def test_a_cancelled_release_goes_back(cancelled: Told) -> None:
    assert (cancelled.run["state"]["type"], cancelled.run["state"]["name"]) == ("CANCELLED", "Cancelled")
    assert cancelled.record.ended
    assert cancelled.record.ended.data["message"] == BACK[str(cancelled.record.outcome)]
    story = cancelled.story
    assert properties.back_since(story.looks, story.stable) < cancelled.seen + BACK_WITHIN
    assert [*story.censuses[-1].versions.values()] == [FIRST] * story.content["replicas"]


def test_nothing_of_a_cancelled_runs_pod_is_left_and_no_other_one_begins_it_again(cancelled: Told) -> None:
    assert [one for one in cancelled.baking.processes if one.is_running()] == []
    assert cancelled.run["run_count"] == 1
    assert [job["status"].get("active") for job in cancelled.jobs] == [None]


def test_an_evicted_release_is_carried_on_by_whichever_pod_comes_first(evicted: Told) -> None:
    """Prefect makes another Job, and Kubernetes 1.20 another pod of the first one, too: the lease lets one of them in."""
    assert (evicted.run["state"]["name"], str(evicted.record.outcome)) == ("Promoted", "Promoted")
    assert evicted.baking.pod["metadata"]["uid"] not in [pod["metadata"]["uid"] for pod in evicted.pods]
    assert [one for one in evicted.baking.processes if one.is_running()] == []
    assert evicted.pods[-1]["status"]["phase"] == "Succeeded"
    changes = [line.key for line in evicted.record.all("outcome") if line.key.startswith("shift-traffic-")]
    assert changes == ["shift-traffic-candidate-20%", "shift-traffic-green-100%"]
    assert [*evicted.story.censuses[-1].versions.values()] == [NEW] * evicted.story.content["replicas"]


def test_jobs_name_the_secret_and_do_not_have_its_text(scene: Scene, each: Told) -> None:
    env = each.jobs[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    (auth,) = [one for one in env if one["name"] == AUTH]
    assert auth["valueFrom"]["secretKeyRef"] == {"name": "davy-secrets", "key": "auth-string"}
    assert scene.password not in json.dumps([*each.jobs, *each.pods]) + each.log + scene.worker


def test_the_workers_role_is_enough(scene: Scene) -> None:
    assert "forbidden" not in scene.worker.lower()
