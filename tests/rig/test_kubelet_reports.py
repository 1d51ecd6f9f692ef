"""What goes wrong with a pod is reported with the reasons and words of the real kubelet and scheduler."""

from __future__ import annotations

import re

import pytest

from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.kubelet_back_off import BackOff
from tests.rig.cluster.workloads import Workloads, condition_of, container_of
from tests.rig.stack import await_that

SLEEP = ["sleep", "1000"]
BY_KEY = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "a"}}}
SECRET_KEY = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "there", "key": "b"}}}
MISSING = {
    "a ConfigMap": ({"envFrom": [{"configMapRef": {"name": "absent"}}]}, 'configmap "absent" not found'),
    "a ConfigMap by key": ({"env": [BY_KEY]}, 'configmap "absent" not found'),
    "a Secret": ({"envFrom": [{"secretRef": {"name": "absent"}}]}, 'secret "absent" not found'),
    "a key": ({"env": [SECRET_KEY]}, "couldn't find key b in Secret {}/there"),
}


@pytest.fixture
def workloads(control_plane: ControlPlane, kubelet: Kubelet, namespace: str) -> Workloads:
    assert kubelet
    return Workloads(control_plane, namespace)


def test_a_running_pod(workloads: Workloads) -> None:
    workloads.pod(command=SLEEP)
    workloads.await_condition("Ready", "True")
    status = workloads.read()["status"]
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("10.244.")
    assert [each["ip"] for each in status["podIPs"]] == [status["podIP"]]
    assert status["startTime"] <= status["containerStatuses"][0]["state"]["running"]["startedAt"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    app = status["containerStatuses"][0]
    assert (app["ready"], app["started"], app["restartCount"], app["image"]) == (True, True, 0, "shop:1.0")


def test_a_crash_loop(workloads: Workloads) -> None:
    workloads.pod(command=["sh", "-c", "exit 3"])
    message = workloads.await_waiting("CrashLoopBackOff")
    pod = workloads.read()
    whom = f"container=app pod=web_{workloads.namespace}({pod['metadata']['uid']})"
    assert re.fullmatch(r"back-off (\d+)s restarting failed (.*)", message).group(2) == whom
    assert pod["status"]["phase"] == "Running"
    ended = container_of(pod)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert container_of(pod)["restartCount"] >= 1  # the first restart is at once
    await_that(lambda: "back-off 40s" in workloads.await_waiting("CrashLoopBackOff"))
    assert container_of(workloads.read())["restartCount"] >= 3


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [("exit 0", 0, "Completed"), ("kill -KILL $$$$", 137, "OOMKilled"), ("kill -TERM $$$$", 143, "Error")],
)
def test_how_a_process_ended(workloads: Workloads, command: str, code: int, reason: str) -> None:
    workloads.pod(command=["sh", "-c", command])
    await_that(lambda: container_of(workloads.read()).get("lastState"), within=60)
    ended = container_of(workloads.read())["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)


@pytest.mark.parametrize(("command", "phase"), [("exit 0", "Succeeded"), ("exit 1", "Failed")])
def test_a_pod_that_is_not_restarted_is_over(workloads: Workloads, command: str, phase: str) -> None:
    workloads.pod(command=["sh", "-c", command], restartPolicy="Never")
    await_that(lambda: workloads.read()["status"]["phase"] == phase, within=60)
    assert "terminated" in container_of(workloads.read())["state"]


def test_a_program_that_is_not_there(workloads: Workloads) -> None:
    workloads.pod(command=["/no/such/program"])
    workloads.await_waiting("CrashLoopBackOff")
    ended = container_of(workloads.read())["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")


def test_an_image_that_is_not_there(workloads: Workloads) -> None:
    workloads.pod(image="elsewhere/web:9", command=SLEEP)
    assert 'failed to resolve reference "elsewhere/web:9"' in workloads.await_waiting("ErrImagePull")
    assert workloads.await_waiting("ImagePullBackOff") == 'Back-off pulling image "elsewhere/web:9"'
    assert workloads.read()["status"]["phase"] == "Pending"


@pytest.mark.parametrize("what", MISSING)
def test_what_a_container_is_to_have_from_elsewhere_and_is_missing(workloads: Workloads, what: str) -> None:
    spec, message = MISSING[what]
    there = {"metadata": {"name": "there"}, "stringData": {"a": "1"}}
    workloads.core.create_namespaced_secret(workloads.namespace, there)
    workloads.pod(command=SLEEP, **spec)
    said = workloads.await_waiting("CreateContainerConfigError")
    assert said == message.format(workloads.namespace)


def test_a_pod_waits_for_its_configuration(workloads: Workloads) -> None:
    workloads.pod(command=SLEEP, envFrom=[{"configMapRef": {"name": "later"}}])
    workloads.await_waiting("CreateContainerConfigError")
    workloads.core.create_namespaced_config_map(workloads.namespace, {"metadata": {"name": "later"}})
    workloads.await_condition("Ready", "True")


def test_a_node_that_is_not_there(workloads: Workloads) -> None:
    workloads.pod(command=SLEEP, nodeSelector={"disk": "ssd"})
    said = workloads.await_condition("PodScheduled", "False")
    assert said["reason"] == "Unschedulable"
    expected = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    assert said["message"] == expected
    assert "nodeName" not in workloads.read()["spec"]


def test_a_pod_without_room_waits_for_another_to_go(workloads: Workloads) -> None:
    large = {"requests": {"cpu": "40", "memory": "1Gi"}}
    workloads.pod("one", command=SLEEP, resources=large)
    workloads.await_condition("Ready", "True", "one")
    workloads.pod("other", command=SLEEP, resources=large)
    said = workloads.await_condition("PodScheduled", "False", "other")
    assert said["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    workloads.delete("one", grace_period_seconds=0)
    workloads.await_condition("Ready", "True", "other")


def test_a_liveness_probe_that_fails_restarts(workloads: Workloads) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    workloads.pod(command=SLEEP, livenessProbe=probe, terminationGracePeriodSeconds=5)
    await_that(lambda: container_of(workloads.read()).get("restartCount", 0) >= 1, within=60)
    ended = container_of(workloads.read())["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (143, "Error")


def test_a_startup_probe_holds_readiness_back(workloads: Workloads) -> None:
    probe = {"exec": {"command": ["test", "-e", "/proc/self/no-such-file"]}, "failureThreshold": 1000}
    workloads.pod(command=SLEEP, startupProbe=probe)
    await_that(lambda: "running" in container_of(workloads.read()).get("state", {}), within=60)
    app = container_of(workloads.read())
    assert (app["started"], app["ready"], app["restartCount"]) == (False, False, 0)


def test_a_readiness_gate_holds_readiness_back(workloads: Workloads) -> None:
    workloads.pod(command=SLEEP, readinessGates=[{"conditionType": "example.org/registered"}])
    workloads.await_condition("ContainersReady", "True")
    assert condition_of(workloads.read(), "Ready")["reason"] == "ReadinessGatesNotReady"
    conditions = {"conditions": [{"type": "example.org/registered", "status": "True"}]}
    workloads.core.patch_namespaced_pod_status("web", workloads.namespace, {"status": conditions})
    workloads.await_condition("Ready", "True")
    assert condition_of(workloads.read(), "example.org/registered")["status"] == "True"


def test_back_off_doubles_and_is_forgotten_after_ten_good_minutes() -> None:
    back_off = BackOff()
    assert [back_off.after(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [back_off.after(seconds) for seconds in (600, 1)] == [0, 10]
