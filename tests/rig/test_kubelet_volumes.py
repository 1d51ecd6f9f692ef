"""Pods have the files that their volumes say, at paths that stand for the paths in the pod."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client

from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.kubelet_api import Json
from tests.rig.cluster.kubelet_volumes import NotMountedError, all_moved, mounts_of, moved, remove
from tests.rig.cluster.workloads import Workloads
from tests.rig.stack import await_that

META = {"name": "web", "namespace": "shop", "uid": "u1"}
OBJECTS: dict[tuple[str, str], Json] = {
    ("configmaps", "map"): {"data": {"a": "1", "b": "2"}},
    ("secrets", "secret"): {"data": {"key": base64.b64encode(b"hidden").decode()}},
    ("persistentvolumeclaims", "bound"): {"spec": {"volumeName": "v"}, "status": {"phase": "Bound"}},
    ("persistentvolumeclaims", "waiting"): {"spec": {}, "status": {"phase": "Pending"}},
    ("persistentvolumes", "v"): {"spec": {"hostPath": {"path": "/srv/state"}}},
}
SECRET = {"secretName": "secret", "defaultMode": 0o440, "items": [{"key": "key", "path": "it"}]}


def mounts(folder: Path, *volumes: Mapping[str, Any], at: str = "/mnt", **mount: str) -> Mapping[str, str]:
    """What a container mounts that mounts these volumes at paths below *at*."""
    named = [{"name": str(number), **volume} for number, volume in enumerate(volumes)]
    paths = [{"name": each["name"], "mountPath": f"{at}/{each['name']}", **mount} for each in named]

    async def find(kind: str, name: str) -> Json | None:
        return OBJECTS.get((kind, name))

    pod = {"metadata": META, "spec": {"volumes": named}}
    return asyncio.run(mounts_of(pod, {"volumeMounts": paths}, folder, find))


def test_an_empty_folder_goes_with_its_pod(tmp_path: Path) -> None:
    (here,) = mounts(tmp_path, {"emptyDir": {}}).values()
    assert [*Path(here).iterdir()] == []
    remove(tmp_path, {"metadata": META})
    assert not Path(here).exists()


def test_keys_are_files(tmp_path: Path) -> None:
    folders = mounts(tmp_path, {"configMap": {"name": "map"}}, {"secret": SECRET})
    assert {file.name: file.read_text() for file in Path(folders["/mnt/0"]).iterdir()} == {"a": "1", "b": "2"}
    (file,) = Path(folders["/mnt/1"]).iterdir()
    assert (file.name, file.read_text(), file.stat().st_mode & 0o777) == ("it", "hidden", 0o440)


def test_files_are_written_again_when_a_container_starts_again(tmp_path: Path) -> None:
    assert mounts(tmp_path, {"secret": SECRET}) == mounts(tmp_path, {"secret": SECRET})


def test_a_claim_is_the_folder_that_its_volume_is_on(tmp_path: Path) -> None:
    claim = {"persistentVolumeClaim": {"claimName": "bound"}}
    assert mounts(tmp_path, claim) == {"/mnt/0": "/srv/state"}
    assert mounts(tmp_path, claim, subPath="in/it") == {"/mnt/0": "/srv/state/in/it"}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"persistentVolumeClaim": {"claimName": "waiting"}}, "not bound"),
        ({"persistentVolumeClaim": {"claimName": "none"}}, "not found"),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        ({"configMap": {"name": "map", "items": [{"key": "c", "path": "c"}]}}, "configmap key: c"),
    ],
)
def test_what_is_missing_is_waited_for(tmp_path: Path, volume: Mapping[str, Any], message: str) -> None:
    with pytest.raises(NotMountedError, match=message):
        mounts(tmp_path, volume)


def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    (here,) = mounts(tmp_path, {"secret": {"secretName": "none", "optional": True}}).values()
    assert [*Path(here).iterdir()] == []


def test_an_unknown_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"volume 0: found \['iscsi', 'name'\]"):
        mounts(tmp_path, {"iscsi": {}})


def test_paths_stand_for_folders_the_longest_first() -> None:
    folders = {"/var/lib/davy": "/b", "/var": "/a"}
    texts = ["/var/lib/davy/x", "/var/lib", "/variable", "at /var", "/var/lib/davy"]
    assert [moved(text, folders) for text in texts] == ["/b/x", "/a/lib", "/variable", "at /var", "/b"]
    assert all_moved({"A": "/tmp/a", "B": "b"}, {"/tmp": "/t"}) == {"A": "/t/a", "B": "b", "TMPDIR": "/t"}


def test_mounts_come_with_the_longest_path_first(tmp_path: Path) -> None:
    volumes = [{"emptyDir": {}}] * 11
    paths = [*mounts(tmp_path, *volumes)]
    assert paths.index("/mnt/10") < paths.index("/mnt/1")


@pytest.fixture
def workloads(control_plane: ControlPlane, kubelet: Kubelet, namespace: str) -> Workloads:
    assert kubelet
    return Workloads(control_plane, namespace)


def test_a_pod_waits_for_its_claim_and_then_has_its_files(
    workloads: Workloads, control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The real controller binds the claim."""
    name = workloads.namespace
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    volumes = [{"name": "state", "persistentVolumeClaim": {"claimName": "state"}}]
    mount = [{"name": "state", "mountPath": "/var/lib/state"}]
    command = ["sh", "-c", 'echo "$TEXT" > "$0"', "/var/lib/state/said"]
    workloads.pod(
        image="davy:1",
        command=command,
        volumes=volumes,
        volumeMounts=mount,
        restartPolicy="Never",
        env=[{"name": "TEXT", "value": "well"}],
    )
    workloads.core.create_namespaced_persistent_volume_claim(
        name, {"metadata": {"name": "state"}, "spec": spec}
    )
    await_that(lambda: workloads.await_waiting("ContainerCreating"), what="a pod without its volume")
    own = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteMany"],
        "hostPath": {"path": str(tmp_path)},
        "claimRef": {"name": "state", "namespace": name},
    }
    workloads.core.create_persistent_volume({"metadata": {"name": name}, "spec": own})
    await_that(lambda: workloads.read()["status"]["phase"] == "Succeeded", 120, "the pod's end")
    assert (tmp_path / "said").read_text() == "well\n"
    client.CoreV1Api(control_plane.api).delete_persistent_volume(name)


def test_a_job_runs_its_pod_once(workloads: Workloads, control_plane: ControlPlane) -> None:
    batch = client.BatchV1Api(control_plane.api)
    container = {"name": "app", "image": "davy:1", "command": ["true"]}
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    body = {"metadata": {"name": "once"}, "spec": {"template": template, "backoffLimit": 0}}
    batch.create_namespaced_job(workloads.namespace, body)
    await_that(
        lambda: batch.read_namespaced_job("once", workloads.namespace).status.succeeded == 1, 60, "the Job"
    )
    assert [pod["status"]["phase"] for pod in workloads.pods()] == ["Succeeded"]


def test_what_a_container_started_in_a_session_of_its_own_ends_with_it(
    workloads: Workloads, kubelet: Kubelet
) -> None:
    command = ["sh", "-c", "setsid sleep 1000 & exec sleep 1001"]
    workloads.pod(image="davy:1", command=command, terminationGracePeriodSeconds=1)
    pids = await_that(lambda: kubelet.pids(workloads.namespace, "web"), what="its process")
    first = psutil.Process(pids["app"])
    (other,) = await_that(first.children, what="its child")
    workloads.delete()
    workloads.await_gone()
    await_that(
        lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE, what="its child's end"
    )
