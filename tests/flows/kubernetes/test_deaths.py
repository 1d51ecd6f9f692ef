"""The process that carries a release dies at a write, which was done or not: the release ends as if it had lived."""

from __future__ import annotations

from threading import Timer
from typing import Any

import pytest
from kubernetes.dynamic import DynamicClient

from tasks.domain.model import Outcome
from tests.flows.kubernetes.scene import Scene
from tests.rig.cluster.faulty import FaultyApi
from tests.rig.world import Died


@pytest.fixture
def mortal(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A shop whose carriers can die in the middle of a call."""
    real = DynamicClient.request

    def request(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - as inherited
        scene.refuse_dead()
        try:
            return real(*args, **options)
        finally:
            scene.refuse_dead()

    monkeypatch.setattr(DynamicClient, "request", request)
    scene.make()
    return scene


def die_at(scene: Scene, faulty: FaultyApi, number: int, version: str = "2.0", **how: Any) -> None:  # noqa: ANN401
    """Release, and die at the write of that number, once it is done or right before."""

    def on_change(now: int) -> bool:
        scene.dead = scene.dead or now == number
        return not scene.dead or done

    done = how.pop("done")
    faulty.on_change = on_change
    with pytest.raises(Died):
        scene.release(version, **how)
    faulty.on_change = lambda _number: True
    scene.revive()


@pytest.mark.parametrize(
    ("number", "done"), [(3, False), (4, True), (7, True), (11, True), (13, False), (15, True), (16, False)]
)
def test_a_release_whose_carrier_died_is_carried_on(
    mortal: Scene, faulty: FaultyApi, number: int, *, done: bool
) -> None:
    die_at(mortal, faulty, number, done=done, on_crash="resume")
    mortal.release(on_crash="resume")
    assert mortal.look() == f"{Outcome.PROMOTED}: shop Promoted: 2.0"
    mortal.assert_promoted()
    mortal.assert_told()


@pytest.mark.parametrize(
    ("number", "done"), [(2, True), (7, False), (8, True), (11, True), (14, True), (16, True)]
)
def test_a_release_whose_carrier_died_is_taken_back(
    mortal: Scene, faulty: FaultyApi, number: int, *, done: bool
) -> None:
    die_at(mortal, faulty, number, done=done, on_crash="revert")
    assert mortal.look() == f"{Outcome.ROLLED_BACK}: nobody carries it on"
    mortal.assert_untouched()
    mortal.assert_told()


@pytest.mark.parametrize("done", [False, True])
def test_a_way_back_whose_carrier_died_is_gone_on_with(
    mortal: Scene, faulty: FaultyApi, *, done: bool
) -> None:
    """At the write that leads all requests to stable again."""
    die_at(mortal, faulty, 9, "2.0-bad", done=done)
    assert mortal.record.reverting
    assert "error_rate of candidate was 50 %" in mortal.look()
    mortal.assert_untouched()
    mortal.assert_told()


def test_a_release_is_carried_on_once_the_api_server_is_back(mortal: Scene, faulty: FaultyApi) -> None:
    """The same outage may have ended the process and the server."""
    die_at(mortal, faulty, 7, done=True, on_crash="resume")
    faulty.refuse()
    Timer(1.5, faulty.clear).start()
    mortal.release(on_crash="resume")
    assert mortal.look() == f"{Outcome.PROMOTED}: shop Promoted: 2.0"
    mortal.assert_promoted()
