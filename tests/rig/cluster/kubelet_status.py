"""What a kubelet reports of a pod: pure values in, the pod's status out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tests.rig.cluster.kubelet_api import Json

FORCED = 137
"""The exit code of what was ended by SIGKILL."""


def moment() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> Json:
    """The state of a container that has no process."""
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def terminated(code: int, began: str, *, ours: bool, reason: str = "", message: str = "") -> Json:
    """The state of a container whose process has ended.

    Args:
        ours: The kubelet ended it; if it did not, SIGKILL came from a system that was out of memory.
    """
    if not reason:
        reason = "OOMKilled" if code == FORCED and not ours else "Error" if code else "Completed"
    state = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": moment()}
    return {"terminated": state | ({"message": message} if message else {})}


def phase(policy: str, containers: Sequence[Json]) -> str:
    """A pod's phase by its containers' statuses."""
    states = [each["state"] for each in containers]
    fresh = ["waiting" in each["state"] and not each["lastState"] for each in containers]
    ends = [state["terminated"]["exitCode"] for state in states if "terminated" in state]
    if any(fresh):
        return "Pending"
    if len(ends) < len(states) or policy == "Always":
        return "Running"
    if not any(ends):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def conditions(pod: Json, phase: str, containers: Sequence[Json]) -> Mapping[str, Json]:
    """The conditions that a kubelet answers for, by type, without the time of their last change."""
    scheduled = {"status": "True"}
    unready = [each["name"] for each in containers if not each["ready"]]
    if phase in ("Succeeded", "Failed"):
        well: Json = {"status": "False", "reason": "PodCompleted" if phase == "Succeeded" else "PodFailed"}
    elif unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        well = {"status": "False", "reason": "ContainersNotReady", "message": message}
    else:
        well = {"status": "True"}
    return {
        "PodScheduled": scheduled,
        "Initialized": scheduled,
        "ContainersReady": well,
        "Ready": _gated(pod, well),
    }


def _gated(pod: Json, well: Json) -> Json:
    """Ready also needs the conditions of the pod's readiness gates."""
    gates = [each["conditionType"] for each in pod["spec"].get("readinessGates", ())]
    found = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
    closed = [gate for gate in gates if found.get(gate) != "True"]
    if well["status"] != "True" or not closed:
        return well
    message = "; ".join(
        f'the status of pod readiness gate "{gate}" is not "True", but {found.get(gate, "")}'
        if gate in found
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in closed
    )
    return {"status": "False", "reason": "ReadinessGatesNotReady", "message": message}


class Conditions:
    """Remembers when each condition last changed."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, str]] = {}

    def dated(self, found: Mapping[str, Json]) -> Sequence[Json]:
        """The conditions as the API wants them."""
        for name, condition in found.items():
            status, _ = self._since.get(name, ("", ""))
            if status != condition["status"]:
                self._since[name] = (condition["status"], moment())
        return [
            {
                "type": name,
                "lastTransitionTime": self._since[name][1],
                "reason": None,
                "message": None,
                **condition,
            }
            for name, condition in found.items()
        ]
