"""A shop on the rig's cluster, whose releases' clocks run fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.journal import Journal, Line
from tasks.metrics import SOURCES
from tasks.release import Carrier
from tests.flows.kubernetes.counts import LiveCounts
from tests.flows.kubernetes.patience import in_a_hurry
from tests.flows.kubernetes.scene import Scene
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.faulty import FaultyApi
from tests.rig.cluster.fixtures import cluster, control_plane, crds, kubelet, namespace
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.fakes import watcher_is_alive

__all__ = ["cluster", "control_plane", "crds", "kubelet", "namespace"]


@pytest.fixture
def faulty(control_plane: ControlPlane, tmp_path: Path) -> Iterator[FaultyApi]:
    """The way to the API server; all is well with it at first."""
    with FaultyApi(control_plane, tmp_path) as api:
        yield api


@pytest.fixture
def scene(  # noqa: PLR0917 - pytest gives them by name
    home: Path,
    control_plane: ControlPlane,
    crds: Sequence[str],
    kubelet: Kubelet,
    namespace: str,
    faulty: FaultyApi,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    """Nothing is there yet: `Scene.make` makes it."""
    del home, crds, kubelet
    in_a_hurry(monkeypatch)
    made = Scene(control_plane, namespace, faulty.kubeconfig)
    real = Journal.append

    def append(journal: Journal, kind: str, key: str = "", /, **data: Any) -> Line:  # noqa: ANN401
        made.refuse_dead()
        line = real(journal, kind, key, **data)
        made.tell(line)
        return line

    for holder, name, value in ((Journal, "append", append), (Carrier, "_here", {})):
        monkeypatch.setattr(holder, name, value)
    monkeypatch.setattr(LiveCounts, "world", made.world, raising=False)
    monkeypatch.setitem(SOURCES, "prometheus", "tests.flows.kubernetes.counts:LiveCounts")
    watcher_is_alive()
    return made
