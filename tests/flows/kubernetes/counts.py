"""Requests as a mesh would count them: 10,000 at each look, split as the objects in the cluster say."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import ClassVar

import pandas as pd

from tasks.cluster import Cluster, Json
from tasks.cluster.kinds import DEPLOYMENT, SERVICE, VIRTUAL_SERVICE
from tasks.domain.errors import TransientError
from tasks.domain.model import Slot, Window
from tasks.domain.spec import ServiceFile
from tasks.metrics.base import DRAWN, ERRORS, MIRRORED, MIRRORED_ERRORS, REQUESTS

SEEN = 10_000
BAD = "bad"
"""What a version has in its name half of whose requests fail."""


class LiveCounts:
    """`MetricSource` over the user's VirtualService and the Deployments; a slot without ready pods only fails.

    The proxies go on while the API server is away: the last that was seen counts.
    """

    world: ClassVar[Cluster]
    """Read past whatever is wrong with the API for Davy."""
    _last: ClassVar[dict[str, tuple[dict[Slot, float], dict[Slot, float]]]] = {}

    def __init__(self, service: ServiceFile) -> None:
        self._name = service.service

    def fetch(self, slots: Collection[Slot], window: Window) -> pd.DataFrame:
        """See `MetricSource.fetch`; one sample, at the end of the window."""
        with suppress(TransientError):
            self._last[self.world.namespace] = self._look()
        shares, errors = self._last[self.world.namespace]
        cells: dict[tuple[str, str], list[float]] = {}
        for slot in slots:
            count = float(round(shares.get(slot, 0.0) * SEEN))
            figures = {REQUESTS: count, ERRORS: count * errors.get(slot, 0.0), DRAWN: count}
            cells |= {(str(slot), name): [value] for name, value in figures.items()}
            cells |= {(str(slot), name): [0.0] for name in (MIRRORED, MIRRORED_ERRORS)}
        columns = pd.MultiIndex.from_tuples(list(cells), names=["slot", "measure"])
        at = pd.DatetimeIndex([window.end], name="at").as_unit("ms")
        return pd.DataFrame(cells, index=at, columns=columns, dtype="float64")

    def _look(self) -> tuple[dict[Slot, float], dict[Slot, float]]:
        found = self.world.read(VIRTUAL_SERVICE, self._name)
        weights: dict[Slot, float] = {}
        for one in found["spec"]["http"][-1]["route"] if found else ():
            name = one["destination"]["host"].partition(".")[0]
            slot = self._at_rest() if name == self._name else Slot(name.removeprefix(f"{self._name}-"))
            weights[slot] = weights.get(slot, 0.0) + float(one.get("weight", 100))
        total = sum(weights.values()) or 1.0
        return {slot: weight / total for slot, weight in weights.items()}, self._errors()

    def _at_rest(self) -> Slot:
        """The colour that the users' Service selects."""
        users = self.world.read(SERVICE, self._name)
        selector = (users or {}).get("spec", {}).get("selector", {})
        return Slot.GREEN if f"{self._name}-green" in selector.values() else Slot.BLUE

    def _errors(self) -> dict[Slot, float]:
        """The part of each slot's requests that fail."""
        found = {one["metadata"]["name"]: one for one in self.world.list(DEPLOYMENT)}
        return {slot: _part(found.get(_deployment(self._name, slot))) for slot in Slot}


def _deployment(name: str, slot: Slot) -> str:
    return name if slot is Slot.BLUE else f"{name}-{slot}"


def _part(deployment: Json | None) -> float:
    if deployment is None or not (deployment.get("status") or {}).get("readyReplicas"):
        return 1.0
    return 0.5 if BAD in deployment["spec"]["template"]["spec"]["containers"][0]["image"] else 0.0
