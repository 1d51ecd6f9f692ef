"""Whole releases on a real API while nothing is wrong: what the others are held against."""

from __future__ import annotations

import pytest

from tasks.domain.model import Outcome
from tasks.fleets.kubernetes import KubernetesDeployments
from tests.flows.kubernetes.scene import Scene
from tests.rig.cluster.faulty import FaultyApi


def test_a_good_version_is_promoted_and_the_routes_are_given_back(scene: Scene) -> None:
    scene.make()
    state = scene.release()
    assert state.name == Outcome.PROMOTED
    assert scene.look() == f"{Outcome.PROMOTED}: shop Promoted: 2.0"
    scene.assert_promoted()
    scene.assert_told()


def test_a_bad_version_leaves_nothing_behind_and_no_watch_is_ever_asked_for(
    scene: Scene, faulty: FaultyApi
) -> None:
    scene.make()
    state = scene.release("2.0-bad")
    assert state.name == Outcome.ROLLED_BACK
    assert "error_rate of candidate is 50 %" in scene.look()
    scene.assert_untouched()
    scene.assert_told()
    assert faulty.changes
    assert not [call for call in faulty.calls if call.verb == "watch"]


def test_a_bad_colour_goes_back_by_one_switch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KubernetesDeployments, "answer", lambda *_: "200")  # nothing listens in these pods
    scene.make()
    scene.release("2.0-bad", strategy="blue-green", watch="200ms", preview={"requests": 1})
    assert "error_rate of green was 50 %" in scene.look()
    scene.assert_untouched()
    scene.assert_told()
