"""What a pod's object says of it. Pure."""

from __future__ import annotations

from tasks.cluster.cluster import Json
from tasks.domain.model import Address


def is_ready(pod: Json) -> bool:
    """Whether it takes requests: ready, and not on its way out."""
    return "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready") == "True"


def condition(found: Json, kind: str) -> str:
    """The status of a condition; empty where it is not known."""
    return str(_condition(found, kind).get("status", ""))


def condition_message(found: Json, kind: str) -> str:
    """Reason and message of a condition, in one line."""
    one = _condition(found, kind)
    return ": ".join(filter(None, (one.get("reason"), one.get("message"))))


def address_of(pod: Json, port: int | None) -> Address:
    """Where it answers.

    Args:
        port: None for the first one that a container names.
    """
    return Address(str((pod.get("status") or {}).get("podIP") or ""), port or first_port(pod))


def first_port(pod: Json) -> int:
    """The first port that a container names; 0 where none does."""
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or []]
    return int(ports[0]["containerPort"]) if ports else 0


def images_of(pod: Json) -> str:
    """What its containers run, by digest, as its node says; empty while that is not known."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return " ".join(sorted({str(one["imageID"]) for one in statuses if one.get("imageID")}))


def _condition(found: Json, kind: str) -> Json:
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})
