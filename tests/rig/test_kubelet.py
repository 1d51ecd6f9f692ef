"""The rig's kubelet: real controllers roll real processes, which are well treated until their end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import pytest
from kubernetes import client

from tests.rig.cluster.addresses import local_address
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.leftovers import MARK, processes_of
from tests.rig.cluster.workloads import Workloads, condition_of, container_of
from tests.rig.stack import ROOT, await_that

SLEEP = ["sleep", "1000"]
STUBBORN = ["sh", "-c", "trap 'echo asked' TERM; while :; do sleep 0.05; done"]
POLITE = ["sh", "-c", "trap 'echo asked; exit 0' TERM; while :; do sleep 0.05; done"]


@pytest.fixture
def workloads(control_plane: ControlPlane, kubelet: Kubelet, namespace: str) -> Workloads:
    assert kubelet
    return Workloads(control_plane, namespace)


def version_at(address: str) -> str:
    """The version that the shop at a pod's address says it is."""
    return httpx.get(f"http://{local_address(address)}:8080/products").headers["x-version"]


def slices(plane: ControlPlane, namespace: str) -> Mapping[str, bool]:
    """Whether each pod's address in the EndpointSlices is said to be ready."""
    version = "v1" if plane.serves("discovery.k8s.io/v1") else "v1beta1"
    found = client.CustomObjectsApi(plane.api).list_namespaced_custom_object(
        "discovery.k8s.io", version, namespace, "endpointslices"
    )
    endpoints = [endpoint for item in found["items"] for endpoint in item["endpoints"] or ()]
    return {each["addresses"][0]: each["conditions"]["ready"] for each in endpoints}


def test_a_deployment_becomes_ready_and_rolls_to_another_image(workloads: Workloads) -> None:
    workloads.shop("1.0")
    workloads.await_rolled("shop", 2)
    before = {pod["status"]["podIP"] for pod in workloads.pods()}
    assert {version_at(address) for address in before} == {"1.0"}
    workloads.set_image("shop", "shop:2.0")
    workloads.await_rolled("shop", 2)
    living = [pod for pod in workloads.pods() if "deletionTimestamp" not in pod["metadata"]]
    after = {pod["status"]["podIP"] for pod in living}
    assert {version_at(address) for address in after} == {"2.0"}
    assert not before & after


def test_endpoint_slices_list_ready_pods_and_pods_can_be_reached_through_the_api_server(
    workloads: Workloads, control_plane: ControlPlane
) -> None:
    spec = {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": "http"}]}
    workloads.core.create_namespaced_service(
        workloads.namespace, {"metadata": {"name": "shop"}, "spec": spec}
    )
    workloads.shop("1.0")
    workloads.await_rolled("shop", 2)
    pods = workloads.pods()
    ready = {pod["status"]["podIP"]: True for pod in pods}
    await_that(lambda: slices(control_plane, workloads.namespace) == ready, within=60)
    proxied = f"{pods[0]['metadata']['name']}:8080"
    said = workloads.core.connect_get_namespaced_pod_proxy_with_path(
        proxied, workloads.namespace, "products/1"
    )
    assert "lamp" in str(said)


def test_a_pod_that_is_never_well_is_never_ready_nor_given_traffic(
    workloads: Workloads, control_plane: ControlPlane
) -> None:
    spec = {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": "http"}]}
    workloads.core.create_namespaced_service(
        workloads.namespace, {"metadata": {"name": "shop"}, "spec": spec}
    )
    workloads.shop("1.0-sick", replicas=1)
    await_that(lambda: slices(control_plane, workloads.namespace) != {}, within=60)
    time.sleep(1)  # long enough for a well one to be ready
    (pod,) = workloads.pods()
    assert (pod["status"]["phase"], container_of(pod)["ready"]) == ("Running", False)
    assert condition_of(pod, "Ready")["reason"] == "ContainersNotReady"
    assert condition_of(pod, "Ready")["message"] == "containers with unready status: [app]"
    assert slices(control_plane, workloads.namespace) == {pod["status"]["podIP"]: False}


def test_a_deleted_pod_stays_until_its_hook_and_its_process_are_done(
    workloads: Workloads, kubelet: Kubelet
) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 2; echo waited"]}}}
    workloads.pod(command=POLITE, lifecycle=hook)
    workloads.await_condition("Ready", "True")
    (pid,) = kubelet.pids(workloads.namespace, "web").values()
    began = time.monotonic()
    workloads.delete()
    time.sleep(0.2)
    assert psutil.pid_exists(pid)
    assert condition_of(workloads.read(), "Ready")["status"] == "True"  # the endpoint controllers do the rest
    workloads.await_gone()
    assert 2 <= time.monotonic() - began < 25
    assert not psutil.pid_exists(pid)
    assert kubelet.log(workloads.namespace, "web", "app").split() == ["waited", "asked"]


def test_a_process_that_does_not_go_is_killed_when_its_grace_is_over(
    workloads: Workloads, kubelet: Kubelet
) -> None:
    workloads.pod(command=STUBBORN, terminationGracePeriodSeconds=2)
    workloads.await_condition("Ready", "True")
    (pid,) = kubelet.pids(workloads.namespace, "web").values()
    began = time.monotonic()
    workloads.delete()
    workloads.await_gone()
    assert 1.9 < time.monotonic() - began < 25
    assert not psutil.pid_exists(pid)
    assert "asked" in kubelet.log(workloads.namespace, "web", "app")


@pytest.mark.parametrize("way", ["by force", "with its namespace"])
def test_a_pod_that_is_no_more_has_no_process(workloads: Workloads, kubelet: Kubelet, way: str) -> None:
    workloads.pod(command=["sh", "-c", "sleep 1000 & sleep 1000"], terminationGracePeriodSeconds=0)
    workloads.await_condition("Ready", "True")
    (pid,) = kubelet.pids(workloads.namespace, "web").values()
    children = psutil.Process(pid).children()
    if way == "by force":
        workloads.delete(grace_period_seconds=0)
    else:
        workloads.core.delete_namespace(workloads.namespace)
    await_that(lambda: not psutil.pid_exists(pid), within=60)
    await_that(lambda: not any(each.is_running() for each in children), within=60)


def test_it_outlives_an_api_server_that_freezes_and_one_that_restarts(
    workloads: Workloads, control_plane: ControlPlane, kubelet: Kubelet
) -> None:
    workloads.pod(command=SLEEP)
    workloads.await_condition("Ready", "True")
    (pid,) = kubelet.pids(workloads.namespace, "web").values()
    control_plane.freeze()
    psutil.Process(pid).kill()
    time.sleep(0.5)
    control_plane.thaw()
    await_that(lambda: container_of(workloads.read()).get("restartCount") == 1, within=30)
    control_plane.restart()
    workloads.pod("other", command=SLEEP)
    workloads.await_condition("Ready", "True", "other")
    workloads.delete()
    workloads.await_gone()


def test_sixty_pods_run_at_once(workloads: Workloads) -> None:
    workloads.deployment("many", {"name": "app", "image": "shop:1.0", "command": SLEEP}, 60)
    workloads.await_rolled("many", 60)
    addresses = {pod["status"]["podIP"] for pod in workloads.pods()}
    assert len(addresses) == 60


def test_nothing_is_left_when_it_is_left(
    control_plane: ControlPlane, workloads: Workloads, tmp_path: Path
) -> None:
    workloads.pod(nodeName="second", command=STUBBORN, image="any:1")
    second = Kubelet(
        control_plane.kubeconfig, tmp_path, lambda image: image == "any:1", name="second", scheduler="none"
    )
    with second:
        workloads.await_condition("Ready", "True")
        assert len(processes_of(tmp_path)) >= 1
    assert processes_of(tmp_path) == []
    nodes = [node.metadata.name for node in workloads.core.list_node().items]
    assert "second" not in nodes
    workloads.delete(grace_period_seconds=0)


def test_it_can_be_left_although_the_api_server_is_frozen(
    control_plane: ControlPlane, workloads: Workloads, tmp_path: Path
) -> None:
    workloads.pod(nodeName="second", command=SLEEP, image="any:1")
    with Kubelet(control_plane.kubeconfig, tmp_path, lambda _: True, name="second", scheduler="none"):
        workloads.await_condition("Ready", "True")
        control_plane.freeze()
    try:
        assert processes_of(tmp_path) == []
    finally:
        control_plane.thaw()
    workloads.core.delete_node("second")
    workloads.delete(grace_period_seconds=0)


def test_its_own_faults_are_raised_when_it_is_left(
    control_plane: ControlPlane, workloads: Workloads, tmp_path: Path
) -> None:
    def faulty(image: str) -> bool:
        raise KeyError(image)

    workloads.pod(nodeName="second", image="any:1")
    second = Kubelet(control_plane.kubeconfig, tmp_path, faulty, name="second", scheduler="none")
    with pytest.raises(BaseExceptionGroup) as raised, second:
        await_that(lambda: second._node and second._node.faults)
    assert {repr(error) for error in raised.value.exceptions} == {"KeyError('any:1')"}
    workloads.delete(grace_period_seconds=0)


def test_pods_of_killed_tests_end_by_themselves(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys, time; from pathlib import Path;"
        "from tests.rig.cluster.leftovers import Reaper;"
        f"Reaper(Path({str(tmp_path)!r})).__enter__();"
        f"subprocess.Popen(['sleep', '1000'], env=os.environ | {{{MARK!r}: {str(tmp_path)!r}}});"
        "time.sleep(1000)"
    )
    tests = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    await_that(lambda: processes_of(tmp_path), within=60)
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    await_that(lambda: not processes_of(tmp_path), within=60)
