"""A run whose service file was changed for it: what counts, what the journal holds, what is refused."""

from __future__ import annotations

import pytest

from tasks.domain.changes import OF_STRATEGY, Changes
from tasks.domain.errors import InputError
from tasks.domain.model import Outcome
from tasks.journal import journal_of, read_lease
from tasks.record import Record
from tests.rig.bare import FLOWS
from tests.rig.fakes import make_service
from tests.rig.world import World

CHANGED: dict[str, dict[str, object]] = {
    "rolling": {"max_surge": "50%", "on_conflict": "queue"},
    "blue-green": {"watch": "70ms"},
    "canary": {"steps": [{"share": 40, "bake": "20ms"}], "promote": False},
    "blue-green-canary": {"trickle": {"share": 7, "bake": "20ms"}},
}


def changes(strategy: str) -> Changes:
    return OF_STRATEGY[strategy].model_validate(CHANGED[strategy])


@pytest.mark.parametrize("strategy", FLOWS)
def test_the_release_follows_the_changed_file_and_its_journal_holds_it(world: World, strategy: str) -> None:
    del world
    state = FLOWS[strategy].fn(make_service(strategy), "v2", changes=changes(strategy), release="r1")
    assert state.name == (Outcome.TRIED if strategy == "canary" else Outcome.PROMOTED)
    record = Record.read(journal_of("shop", "r1"))
    opened = record.service.model_dump(mode="json")
    expected = make_service(strategy).model_dump(mode="json") | CHANGED[strategy]
    assert opened == type(record.service).model_validate(expected).model_dump(mode="json")
    if strategy == "canary":
        shares = {one.get("candidate", 0) for line in record.all("live") for one in [line.data["split"]]}
        assert shares == {0, 4000}


def test_changes_that_do_not_fit_are_refused_before_anything_is_touched(world: World) -> None:
    wrong = OF_STRATEGY["canary"].model_validate({"steps": [{"share": 50}, {"share": 20}]})
    before = list(world.history)
    with pytest.raises(InputError, match=r"steps\.1\.share: found 20% after 50%, expected shares that grow"):
        FLOWS["canary"].fn(make_service("canary"), "v2", changes=wrong, release="r1")
    assert world.history == before
    assert not journal_of("shop", "r1").exists()
    assert read_lease("shop") is None
