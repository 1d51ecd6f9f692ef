"""An API server that is busy, away, silent or in dispute: a good version is promoted all the same, a bad one is not."""

from __future__ import annotations

from http import HTTPStatus
from threading import Timer

import pytest

from tasks.domain.model import Outcome
from tests.flows.kubernetes.scene import BAKE, SHIFT, Scene
from tests.rig.cluster.faulty import FaultyApi

JUDGED = "outcome analyse-candidate-20%-1"
PROVISION, PROMOTE, BACK = "intent provision-candidate-1", "intent provision-green-2", "reverting"


def end_of(scene: Scene) -> None:
    """How each of these releases ends."""
    said = scene.look()
    if scene.record.opening.version == "2.0":
        assert said.startswith(Outcome.PROMOTED), said
        scene.assert_promoted()
    else:
        assert said.startswith(Outcome.ROLLED_BACK), said
        assert "error_rate of candidate" in said
        scene.assert_untouched()
    scene.assert_told()


def version_at(line: str) -> str:
    """A bad one where a way back is wanted."""
    return "2.0-bad" if line == BACK else "2.0"


@pytest.mark.parametrize(
    ("status", "line"), [(429, PROVISION), (500, SHIFT), (504, BAKE), (429, PROMOTE), (504, BACK)]
)
def test_twenty_calls_that_fail_only_delay_a_release(
    scene: Scene, faulty: FaultyApi, status: int, line: str
) -> None:
    scene.make()
    retry_after = 0 if status == HTTPStatus.TOO_MANY_REQUESTS else None
    scene.at(line, lambda: faulty.answer(status, calls=20, retry_after=retry_after))
    scene.release(version_at(line))
    end_of(scene)
    assert sum(call.status == status for call in faulty.calls) == 20


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("refuse", SHIFT),
        ("refuse", BAKE),
        ("refuse", BACK),
        ("silent", SHIFT),
        ("silent", JUDGED),
        ("silent", BACK),
    ],
)
def test_an_outage_only_delays_a_release(
    scene: Scene, faulty: FaultyApi, line: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are refused for 6 s, or no call is answered for 30 s, by clocks that run ten times as fast."""
    scene.make()
    if fault == "silent":
        monkeypatch.setattr("tasks.cluster.again.ANSWER", 1.0)
    span = 0.6 if fault == "refuse" else 3.0

    def begin() -> None:
        getattr(faulty, fault)()
        Timer(span, faulty.clear).start()

    scene.at(line, begin)
    scene.release(version_at(line))
    end_of(scene)


def test_a_frozen_api_server_only_delays_a_release(scene: Scene) -> None:
    scene.make()

    def freeze() -> None:
        scene.plane.freeze()
        Timer(3.0, scene.plane.thaw).start()

    scene.at(SHIFT, freeze)
    scene.release()
    end_of(scene)


@pytest.mark.parametrize("version", ["2.0", "2.0-bad"])
def test_a_conflict_at_every_second_write_only_delays_a_release(
    scene: Scene, faulty: FaultyApi, version: str
) -> None:
    scene.make()
    faulty.answer(HTTPStatus.CONFLICT, changing=True, every=2)
    scene.release(version)
    faulty.clear()
    end_of(scene)
    assert sum(call.status == HTTPStatus.CONFLICT for call in faulty.calls) > 3
