"""A hold that comes as its bake ends: it is obeyed, or refused in plain words, and never just lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tasks.acts import say
from tasks.domain.acts import Act
from tasks.domain.errors import ConflictError
from tasks.domain.model import Outcome
from tasks.journal import journal_of
from tasks.record import Record
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.world import World

BAKE = "bake-green-100%-1"
HELD = timedelta(seconds=2)


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def hold() -> None:
    say(journal_of("shop", "r1"), Act.HOLD, by="ann", held_for=HELD)


def once(world: World, what: str, then: Callable[[], object]) -> None:
    """Do *then* just before *what* happens."""

    def look(done: str) -> None:
        if done.startswith(what):
            world.on_change = lambda _what: None
            then()

    world.on_change = look


def test_one_that_comes_when_the_bake_has_just_ended_makes_it_longer(world: World) -> None:
    once(world, f"journal outcome {BAKE}", hold)
    assert run(make_service("blue-green", watch="50ms")).name == Outcome.PROMOTED
    ends = [line.at for line in record().all("outcome") if line.key == BAKE]
    (held,) = record().all("act")
    judged = record().first("intent", "analyse-green-100%-1")
    assert judged
    assert ends[0] < held.at + HELD <= ends[1] <= judged.at


def test_one_that_comes_when_the_step_is_judged_is_refused(world: World) -> None:
    def too_late() -> None:
        with pytest.raises(
            ConflictError, match=r"found green-100% judged already, expected a step that bakes"
        ):
            hold()

    once(world, "journal outcome analyse-green-100%", too_late)
    assert run(make_service("blue-green", watch="50ms")).name == Outcome.PROMOTED
    assert record().all("act") == []


def test_one_that_comes_between_two_steps_is_refused_by_where_the_release_is(world: World) -> None:
    def between() -> None:
        with pytest.raises(ConflictError, match=r"found it at analyse-candidate-5%-1, expected a step"):
            hold()

    once(world, "journal intent shift-traffic-candidate-25%", between)
    steps = [{"share": share, "bake": "50ms"} for share in (5, 25)]
    assert run(make_service("canary", steps=steps)).name == Outcome.PROMOTED
    assert world.on_change.__name__ == "<lambda>", "the hold was tried"
