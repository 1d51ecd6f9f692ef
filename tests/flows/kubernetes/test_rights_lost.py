"""Davy's permission is taken away in the middle of a release, and given again later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.watcher import Watched
from tasks.domain.model import Outcome
from tasks.journal import journal_of
from tests.flows.kubernetes.roles import allow, bind, restrict, unbind
from tests.flows.kubernetes.scene import BAKE, Scene
from tests.rig.cluster.faulty import FaultyApi


@pytest.fixture
def limited(scene: Scene, tmp_path: Path) -> Iterator[Scene]:
    """A shop that Davy reaches with no more rights than its roles give."""
    scene.make()
    allow(scene)
    with FaultyApi(scene.plane, tmp_path, "limited") as api:
        scene.kubeconfig = api.kubeconfig
        yield scene


def test_the_least_roles_are_enough(limited: Scene) -> None:
    limited.release()
    assert limited.look() == f"{Outcome.PROMOTED}: shop Promoted: 2.0"
    limited.assert_promoted()


@pytest.mark.parametrize("lost", ["all", "list virtualservices"])
def test_a_release_without_rights_says_so_and_is_taken_back_once_it_has_them_again(
    limited: Scene, lost: str
) -> None:
    verb, _, resource = lost.partition(" ")

    def take_away() -> None:
        if lost == "all":
            unbind(limited)
        else:
            restrict(limited, (resource, verb))

    limited.at(BAKE, take_away)
    state = limited.release(steps=[{"share": 20, "bake": "3s"}])
    assert state.name == Outcome.FAILED
    assert (state.message or "").startswith("still on its way back, which the watcher goes on with: ")
    assert "held up by: " in (state.message or "")
    Watched(journal_of("shop", "r1")).look_once()
    assert not limited.record.ended, "while it may not be done, it is not said to be"
    bind(limited) if lost == "all" else restrict(limited)
    said = limited.look()
    assert said.startswith(f"{Outcome.ROLLED_BACK}: ")
    assert re.search(rf"\w+/{limited.namespace}(/shop\S*)?: found no permission to (get|list) it", said), said
    assert "somebody else changed it" not in said
    limited.assert_untouched()
    limited.assert_told()
