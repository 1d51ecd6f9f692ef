"""One embedded stack for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.fixtures import cluster, control_plane, crds, kubelet, new_namespace
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.cluster.mesh_prometheus import program
from tests.rig.cluster.stage import Cell, ClusterStage
from tests.rig.stack import Davy

__all__ = ["cluster", "control_plane", "crds", "kubelet", "stages"]

LONGEST = 600
"""Seconds that a module's scene may take on a busy machine, as its first test's set-up."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Each test here has the machine for itself, and the time that its module's scene may need."""
    item.add_marker(pytest.mark.alone)
    if "davy" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.timeout(LONGEST))


Stages = Callable[..., AbstractContextManager[ClusterStage]]


@pytest.fixture(scope="session")
def stages(davy: Davy, control_plane: ControlPlane, crds: Sequence[str], kubelet: Kubelet) -> Stages:
    """Makes a stage on Kubernetes, in a namespace of its own."""
    del crds, kubelet

    @contextmanager
    def stage(cells: Sequence[Cell], **options: object) -> Iterator[ClusterStage]:
        if program() is None:
            pytest.skip("prometheus: found none on PATH, expected the server's program")
        with (
            new_namespace(control_plane) as namespace,
            ClusterStage(davy, control_plane, namespace, cells, **options) as open_stage,  # type: ignore[arg-type]
        ):
            yield open_stage

    return stage


@pytest.fixture(scope="session")
def davy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Davy]:
    """The stack, up; at the end it goes down and leaves nothing running."""
    davy = Davy.in_folder(tmp_path_factory.mktemp("e2e"))
    try:
        up = davy.run("up")
        assert up.code == 0, up
        yield davy
    finally:
        down = davy.run("down")
        left = davy.processes()
    assert (down.code, left) == (0, []), down
