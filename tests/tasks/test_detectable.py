"""A step that cannot see what the service file asks for is refused before anything is touched."""

from __future__ import annotations

import pytest

from tasks.detectable import refuse_blind
from tasks.domain.errors import InputError
from tasks.domain.model import Revision, Slot
from tasks.journal import journal_of
from tasks.opening import open_release, preflight
from tests.rig.fakes import make_service
from tests.rig.world import World

STABLE = Revision("shop", Slot.BLUE, "v1")
ASKED = {"error_rate": {"tolerance": 20, "floor": 0.5, "detect": 2}}


def test_without_traffic_a_gate_that_must_see_something_is_refused(world: World) -> None:
    world.silent = True
    service = make_service("canary", analysis={"compare": ASKED})
    before = world.end_state()
    with pytest.raises(InputError, match=r"analysis.compare.error_rate.detect: found 2.*traffic on stable"):
        preflight(service, "v2")
    with pytest.raises(InputError, match="weak_gate"):
        open_release("r1", "canary", service, "v2")
    assert not journal_of("shop", "r1").exists()
    assert world.end_state() == before


@pytest.mark.parametrize(
    "analysis",
    [{}, {"compare": {}}, {"compare": ASKED, "weak_gate": "warn"}],
    ids=["default", "none", "warn"],
)
def test_it_goes_on_where_nothing_is_asked_or_a_warning_is_enough(
    world: World, analysis: dict[str, object]
) -> None:
    world.silent = True
    assert preflight(make_service("canary", analysis=analysis), "v2") == (STABLE, 3)


def test_a_first_version_has_nothing_to_be_compared_with(world: World) -> None:
    del world
    refuse_blind(make_service("canary", analysis={"compare": ASKED}), None, 3)


def test_a_bake_shorter_than_a_canary_configs_step_is_refused(world: World) -> None:
    del world
    canary = {"config": {}, "url": "http://127.0.0.1:9", "step": "5s"}
    with pytest.raises(
        InputError, match=r"analysis.canary.step: found '5s', expected at most the bake of 1ms"
    ):
        preflight(make_service("canary", analysis={"canary": canary}), "v2")
