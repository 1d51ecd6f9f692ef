"""What people may not say to a release: at a gate, without the right to, or where it can mean nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.watcher import Watched
from tasks import acts, approval
from tasks.acts import say
from tasks.domain.acts import Act
from tasks.domain.errors import ConflictError, InputError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome
from tasks.journal import journal_of
from tests.flows.people import GATES, long_bakes, people, record, saying
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.world import World


def test_at_a_gate_a_hold_is_a_decision_and_the_rest_is_refused_with_what_to_say(world: World) -> None:
    del world

    def acts_at_gate() -> None:
        said = saying(Act.HOLD, held_for=timedelta(minutes=1))()
        assert str(said.place) == "gate promotion"  # type: ignore[attr-defined]
        for act in (Act.SKIP, Act.RETRY):
            with pytest.raises(ConflictError, match=r"waiting at gate promotion .*davy approve shop"):
                saying(act)()
        assert record().gate.until(record().decisions) > datetime.now(UTC) + timedelta(seconds=50)  # type: ignore[union-attr]
        approval.decide(journal_of("shop", "r1"), Choice.APPROVE, by="ann", reason="")

    with people(("gate promotion", acts_at_gate)):
        assert run(make_service("canary", gates=GATES)).name == Outcome.PROMOTED


@pytest.mark.parametrize(
    ("gates", "by", "why"),
    [
        ({}, "mallory", "not among the approvers"),
        ({"approvers": ["ann", "carol"]}, "carol", "started this release"),
        ({"approval": "verified"}, "ann", "verified"),
    ],
)
def test_where_there_are_gates_only_who_may_approve_may_let_it_go_on_unjudged(
    world: World, gates: dict[str, Any], by: str, why: str
) -> None:
    del world

    def tries() -> None:
        for act in (Act.PROMOTE, Act.SKIP):
            with pytest.raises(InputError, match=why):
                saying(act, by)()
        saying(Act.RETRY, by)()
        acts.ask_for_abort(journal_of("shop", "r1"), by)
        Watched(journal_of("shop", "r1")).look_once()

    with people(("candidate-5%", tries)):
        assert run(long_bakes("canary", gates=GATES | gates)).name == Outcome.ABORTED
    assert [line.key for line in record().all("act")] == ["retry"]


def test_an_act_needs_one_more_person_where_nobody_knows_whose_release_it_is(world: World) -> None:
    del world

    def tries() -> None:
        with pytest.raises(InputError, match="need two people"):
            saying(Act.PROMOTE)()
        say(journal_of("shop", "r1"), Act.ABORT, by="ann")
        Watched(journal_of("shop", "r1")).look_once()

    with people(("candidate-5%", tries)):
        assert run(long_bakes("canary", gates=GATES), starter="").name == Outcome.ABORTED


def test_what_can_mean_nothing_is_refused_in_words(world: World) -> None:
    journal = journal_of("shop", "r1")
    refused: list[str] = []
    common: dict[str, Any] = {"by": "ann", "held_for": timedelta(seconds=9)}

    def refuses(act: Act, kind: type[Exception] = ConflictError, **more: Any) -> None:  # noqa: ANN401
        with pytest.raises(kind) as error:
            say(journal, act, **common | more)
        refused.append(str(error.value))

    def before_traffic(what: str) -> None:
        if what.startswith("start shop/candidate") and not refused:
            refuses(Act.PROMOTE)
            refuses(Act.SKIP)

    def tries() -> None:
        refuses(Act.PROMOTE, InputError, by=" ")
        refuses(Act.HOLD, InputError, held_for=timedelta(0))
        refuses(Act.HOLD, InputError, held_for=timedelta(days=8))
        saying(Act.PROMOTE)()
        for act in (Act.PROMOTE, Act.SKIP, Act.HOLD, Act.RETRY):
            refuses(act)

    world.on_change = before_traffic
    with people(("candidate-5%", tries)):
        assert run(long_bakes("canary")).name == Outcome.PROMOTED
    for act in Act:
        refuses(act)
    assert "nothing was seen of it yet" in refused[0]
    assert "provision" in refused[1]
    assert all("promote already said by ann (claimed)" in one for one in refused[5:9])
    assert all("ended as Promoted" in one for one in refused[9:])
    assert [line.key for line in record().all("act")] == ["promote"]
