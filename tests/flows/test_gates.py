"""Gates in each strategy: nothing goes beyond one without its approval, and what was not approved goes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from deployments.watcher import Watched
from tasks import approval
from tasks.domain.errors import ConflictError, InputError, TransientError
from tasks.domain.gates import Choice, OpenGate
from tasks.domain.model import Outcome, Replica, Revision, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.journal import journal_of
from tasks.record import Record
from tasks.release import Carrier
from tests.flows.people import somebody_looks
from tests.rig.bare import run
from tests.rig.fakes import FakeFleet, make_service
from tests.rig.world import World

STRATEGIES = ["rolling", "blue-green", "canary", "blue-green-canary"]
STABLE = Split.all_to(Slot.BLUE)
ASKED = {"approvers": ["ann", "bob"], "within": "20s"}


def record(release: str = "r1") -> Record:
    return Record.read(journal_of("shop", release))


@contextmanager
def people(act: Callable[[Record], None]) -> Iterator[None]:
    """Somebody acts once at each gate that is waited at."""
    seen: set[tuple[str, str]] = set()

    def look(now: Record) -> None:
        if now.gate and (now.gate.point, now.gate.plan) not in seen:
            seen.add((now.gate.point, now.gate.plan))
            act(now)

    with somebody_looks(look):
        yield


def approves(by: str = "ann") -> Callable[[Record], None]:
    def act(_record: Record) -> None:
        approval.decide(journal_of("shop", "r1"), Choice.APPROVE, by=by, reason="fine")

    return act


def share_at_gates(world: World, seen: dict[str, int]) -> Callable[[Record], None]:
    """Notes the new version's largest share so far at each gate, then approves."""

    def act(now: Record) -> None:
        shares = [
            1 - moment.split.shares.get(Slot.BLUE, 0) / WHOLE for moment in world.history if moment.split
        ]
        seen[now.gate.point if now.gate else ""] = round(100 * max(shares))
        approves()(now)

    return act


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_gate_is_waited_at_before_any_larger_share(world: World, strategy: str) -> None:
    service = make_service(strategy, gates=ASKED | {"at": ["traffic", "25%", "promotion"]})
    seen: dict[str, int] = {}
    with people(share_at_gates(world, seen)):
        assert run(service).name == Outcome.PROMOTED
    assert [*seen] == ["traffic", "25%", "promotion"]
    assert seen["traffic"] == 0
    assert seen["25%"] <= (50 if strategy == "canary" else 25)  # a canary's baseline has as much as it
    assert seen["promotion"] < 100
    assert all(line.data["reason"] == "approved by ann (claimed): fine" for line in record().all("ruling"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_rejected_goes_back_and_ends_as_rejected(world: World, strategy: str) -> None:
    def rejects(_record: Record) -> None:
        approval.decide(journal_of("shop", "r1"), Choice.REJECT, by="bob", reason="not tonight")

    with people(rejects):
        state = run(make_service(strategy, gates=ASKED))
    assert (state.name, state.type.value) == (Outcome.REJECTED, "CANCELLED")
    assert state.message == "rejected by bob (claimed): not tonight"
    assert world.traffic
    assert world.traffic.split == STABLE
    watched = Watched(journal_of("shop", "r1"))
    for _ in range(3):
        watched.look_once()
    assert {str(revision) for revision, there in world.running.items() if there} == {"shop/blue@v1"}


@pytest.mark.parametrize(("on_timeout", "outcome"), [("reject", "Rejected"), ("approve", "Promoted")])
def test_the_deadline_decides_where_nobody_does(world: World, on_timeout: str, outcome: str) -> None:
    del world
    service = make_service("blue-green", gates=ASKED | {"within": "50ms", "on_timeout": on_timeout})
    assert run(service).name == outcome
    assert "on_timeout: 0 of 1 approvals" in record().all("ruling")[0].data["reason"]


def test_a_hold_waits_longer(world: World) -> None:
    del world
    journal = journal_of("shop", "r1")

    def holds_then_approves(now: Record) -> None:
        approval.decide(journal, Choice.HOLD, by="ann", reason="", held_for=timedelta(seconds=30))
        time.sleep(0.4)  # longer than the gate would have waited
        approves()(now)

    with people(holds_then_approves):
        assert run(make_service("blue-green", gates=ASKED | {"within": "200ms"})).name == Outcome.PROMOTED


def test_a_bad_candidate_is_taken_back_while_it_waits(world: World) -> None:
    """The watcher guards at gates too, and nobody has to come for that."""

    def goes_bad(_record: Record) -> None:
        world.errors["v2"] = 1.0
        Watched(journal_of("shop", "r1")).look_once()

    with people(goes_bad):
        state = run(make_service("canary", gates=ASKED | {"at": ["25%"]}))
    assert state.name == Outcome.ROLLED_BACK
    assert "error_rate" in (state.message or "")


def test_an_image_that_changes_voids_what_was_approved(world: World) -> None:
    """A tag that was moved to another image is not what was looked at."""
    seen: list[str] = []

    def runs(image: str) -> None:
        for revision, there in world.running.items():
            if revision.version == "v2":
                world.running[revision] = [replace(one, image=image) for one in there]

    def moves_the_tag_once(now: Record) -> None:
        seen.append(now.gate.plan if now.gate else "")
        if len(seen) == 1:
            runs("shop@sha256:two")
        approves()(now)

    world.on_change = lambda what: (
        runs("shop@sha256:one") if what == "journal intent open-preview-green" else None
    )
    with people(moves_the_tag_once):
        assert run(make_service("blue-green", gates=ASKED)).name == Outcome.PROMOTED
    assert len(set(seen)) == 2
    (voided,) = record().all("void")
    assert "found images shop@sha256:two, expected shop@sha256:one" in voided.data["reason"]


def test_decisions_that_would_not_count_are_refused_and_not_written(world: World) -> None:
    del world
    journal = journal_of("shop", "r1")
    refused: list[str] = []

    def strangers_first(now: Record) -> None:
        for by, plan in (("mallory", ""), ("carol", ""), ("ann", "another")):
            with pytest.raises(InputError) as error:
                approval.decide(journal, Choice.APPROVE, by=by, reason="", plan=plan)
            refused.append(str(error.value))
        approves()(now)

    service = make_service("blue-green", gates=ASKED | {"approvers": ["ann", "carol"]})
    with people(strangers_first):
        assert run(service).name == Outcome.PROMOTED
    assert ["mallory" in refused[0], "started this release" in refused[1], "another" in refused[2]] == [
        True
    ] * 3
    assert len(record().all("decision")) == 1
    with pytest.raises(ConflictError, match="no gate"):
        approval.decide(journal, Choice.APPROVE, by="ann", reason="")


def test_somebody_elses_change_at_a_gate_is_named(world: World) -> None:
    def meddles(_record: Record) -> None:
        world.traffic = Traffic(Split({Slot.BLUE: 7000, Slot.CANDIDATE: 3000}))

    with people(meddles):
        state = run(make_service("canary", gates=ASKED | {"at": ["25%"]}))
    assert state.name == Outcome.ROLLED_BACK
    assert "live requests: found blue 70%, candidate 30%" in (state.message or "")


@contextmanager
def away_as_gates_open(monkeypatch: pytest.MonkeyPatch, times: int) -> Iterator[list[str]]:
    """The fleet does not answer so many times when a gate opens; which gates it did not answer."""
    opening: list[str] = []
    refused: list[str] = []

    def opens(carrier: Carrier, revision: Revision, point: str) -> OpenGate | None:
        opening.append(point)
        try:
            return approval.open_gate(carrier, revision, point)
        finally:
            opening.pop()

    def observe(fleet: FakeFleet) -> tuple[Replica, ...]:
        if opening and threading.current_thread() is threading.main_thread() and len(refused) < times:
            refused.append(opening[-1])
            msg = "supervisor: found no answer, expected one"
            raise TransientError(msg)
        return observed(fleet)

    observed = FakeFleet.observe
    with monkeypatch.context() as patch:
        patch.setattr(FakeFleet, "observe", observe)
        patch.setattr("flows.gate.open_gate", opens)
        yield refused


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_fleet_that_is_away_as_the_gate_opens_is_asked_again(
    world: World, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del world
    with away_as_gates_open(monkeypatch, times=1) as refused, people(approves()):
        assert run(make_service(strategy, gates=ASKED)).name == Outcome.PROMOTED
    assert refused == ["promotion"]
    assert [line.data["approved"] for line in record().all("ruling")] == [True]


def test_a_fleet_that_stays_away_as_the_gate_opens_has_the_release_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.carry.PATIENCE", timedelta(0))
    with away_as_gates_open(monkeypatch, times=1), people(approves()):
        state = run(make_service("canary", gates=ASKED))
    assert (state.name, state.type.value) == (Outcome.ROLLED_BACK, "FAILED")
    assert "found no answer" in (state.message or "")
    assert not record().all("gate")
    assert world.traffic
    assert world.traffic.split == STABLE
