"""What a Deployment and its pods say of themselves: healthy, not yet, or never. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.cluster import Json
from tasks.cluster.pods import condition, condition_message, is_ready
from tasks.domain.model import Health

HOPELESS = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons for which a container waits that time alone does not mend: said at once, not waited for."""
_UNHEALTHY = HOPELESS | {"ErrImagePull"}


@dataclass(frozen=True)
class Seen:
    """A pod's health, with why it has no better one.

    Attributes:
        restarts: Of all its containers.
    """

    health: Health
    detail: str = ""
    restarts: int = 0


def health_of(pod: Json) -> Seen:
    """What a pod's status tells."""
    restarts = sum(one.get("restartCount", 0) for one in _containers(pod))
    if "deletionTimestamp" in pod["metadata"]:
        return Seen(Health.STOPPING, "told to stop", restarts)
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Failed", "Succeeded"):
        return Seen(Health.DOWN, f"its pod has {phase.lower()}: {_said(pod)}", restarts)
    for health, detail in _troubles(pod):
        return Seen(health, detail, restarts)
    if is_ready(pod):
        return Seen(Health.HEALTHY, "", restarts)
    if condition(pod, "PodScheduled") == "False":
        return Seen(Health.UNHEALTHY, condition_message(pod, "PodScheduled"), restarts)
    return Seen(Health.STARTING, condition_message(pod, "Ready") or "not scheduled yet", restarts)


def hopeless(deployment: Json, pods: Sequence[Json]) -> str:
    """Why a Deployment will not get healthy by waiting, in its objects' own words; empty while it may."""
    for pod in pods:
        if "deletionTimestamp" in pod["metadata"]:
            continue
        name = f"Pod/{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for one in _containers(pod):
            waiting = (one.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in HOPELESS:
                return f"{name}: {_waiting(one)}"
        if condition(pod, "PodScheduled") == "False":
            return f"{name}: {condition_message(pod, 'PodScheduled')}"
    name = f"Deployment/{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
    if not _is_observed(deployment):
        return ""
    if condition(deployment, "ReplicaFailure") == "True":
        return f"{name}: {condition_message(deployment, 'ReplicaFailure')}"
    if "ProgressDeadlineExceeded" in condition_message(deployment, "Progressing"):
        return f"{name}: {condition_message(deployment, 'Progressing')}"
    return ""


def missing_because(deployment: Json) -> str:
    """Why a Deployment has fewer pods than it should; empty where it does not say."""
    if _is_observed(deployment) and condition(deployment, "ReplicaFailure") == "True":
        return condition_message(deployment, "ReplicaFailure")
    return ""


def _is_observed(deployment: Json) -> bool:
    """Whether its status is about what it asks for now."""
    generation = deployment["metadata"].get("generation", 0)
    return bool((deployment.get("status") or {}).get("observedGeneration", 0) >= generation)


def _troubles(pod: Json) -> Iterator[tuple[Health, str]]:
    for one in _containers(pod):
        state = one.get("state") or {}
        reason = (state.get("waiting") or {}).get("reason")
        if reason == "CrashLoopBackOff":
            yield Health.DOWN, _waiting(one)
        elif reason in _UNHEALTHY:
            yield Health.UNHEALTHY, _waiting(one)
        elif "terminated" in state:
            yield Health.DOWN, _ended(state["terminated"])


def _waiting(container: Json) -> str:
    waiting = container["state"]["waiting"]
    words = f"{waiting['reason']}: {waiting.get('message', 'no message')}"
    last = (container.get("lastState") or {}).get("terminated")
    return f"{words}; {_ended(last)}" if last else words


def _ended(terminated: Json) -> str:
    said = f": {terminated['message'].strip()}" if terminated.get("message") else ""
    return (
        f"ended with exit code {terminated.get('exitCode')} ({terminated.get('reason', 'no reason')}){said}"
    )


def _said(pod: Json) -> str:
    status = pod["status"]
    words = [status.get("reason"), status.get("message")]
    ends = [_ended(one["state"]["terminated"]) for one in _containers(pod) if "terminated" in one["state"]]
    return ": ".join(filter(None, words)) or "; ".join(ends) or "no reason given"


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    found: list[Json] = [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]
    return [one for one in found if not _is_done_init(one, status)]


def _is_done_init(container: Json, status: Json) -> bool:
    """An init container that has ended well is no trouble."""
    names = [one["name"] for one in status.get("initContainerStatuses") or []]
    terminated = (container.get("state") or {}).get("terminated") or {}
    return container["name"] in names and terminated.get("exitCode") == 0
