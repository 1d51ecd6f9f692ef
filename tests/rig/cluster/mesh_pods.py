"""Whose address was whose, and when: requests are read from a log after their pod may be gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from time import time

from tests.rig.cluster.translate_base import Json, Objects
from tests.rig.cluster.translate_services import here

_HASH = "pod-template-hash"


@dataclass(frozen=True)
class Pod:
    """One pod.

    Attributes:
        workload: Its Deployment, or what else owns it; its own name where nothing does.
    """

    namespace: str = "unknown"
    name: str = "unknown"
    workload: str = "unknown"
    labels: Mapping[str, str] = field(default_factory=dict)


UNKNOWN = Pod()
"""Of a request that no pod has answered."""


class Pods:
    """All that were ever seen, by the address at which they listen on this machine."""

    def __init__(self) -> None:
        self._by_address: dict[str, list[tuple[float, str, Pod]]] = defaultdict(list)
        self._lock = Lock()

    def see(self, objects: Objects) -> None:
        """Take in a look at the API server."""
        now = time()
        with self._lock:
            for one in objects.get("Pod", ()):
                if address := (one.get("status") or {}).get("podIP"):
                    history = self._by_address[here(address)]
                    uid = one["metadata"].get("uid", one["metadata"]["name"])
                    if not history or history[-1][1] != uid:
                        history.append((now, uid, _pod(one)))

    def at(self, host: str, when: float) -> Pod:
        """Who listened at this address (with a port or without) at that time (epoch seconds)."""
        with self._lock:
            history = self._by_address.get(host.partition(":")[0], ())
            found = [pod for since, _, pod in history if since <= when]
            return found[-1] if found else history[0][2] if history else UNKNOWN


def _pod(one: Json) -> Pod:
    about = one["metadata"]
    labels = about.get("labels") or {}
    owner = next((each for each in about.get("ownerReferences") or () if each.get("controller")), None)
    workload = owner["name"] if owner else about["name"]
    if owner and owner["kind"] == "ReplicaSet":
        workload = workload.removesuffix(f"-{labels.get(_HASH, '')}")
    return Pod(about.get("namespace", ""), about["name"], workload, labels)
