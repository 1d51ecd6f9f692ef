"""Gates: where they stand, whose word counts, and what it comes to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tasks.domain.gates import Choice, Decision, Gates, OpenGate

NOW = datetime(2026, 11, 27, 3, tzinfo=UTC)
PLAN = "p" * 64


def gates(**parts: object) -> Gates:
    return Gates.model_validate({"approvers": ["ann", "bob", "carol"]} | parts)


def opened(starter: str = "carol", **parts: object) -> OpenGate:
    return OpenGate("promotion", PLAN, NOW + timedelta(hours=1), starter, gates(**parts))


def said(choice: str, by: str = "ann", minute: int = 0, **parts: object) -> Decision:
    common = {"reason": "", "verified": False, "plan": PLAN}
    return Decision(at=NOW + timedelta(minutes=minute), choice=Choice(choice), by=by, **(common | parts))  # type: ignore[arg-type]


def test_gates_stand_in_the_order_in_which_shares_grow() -> None:
    asked = gates(at=["promotion", "25%", 5, "traffic"])
    assert asked.before(1) == ("traffic",)
    assert asked.before(500) == ("traffic",)
    assert asked.before(501) == ("traffic", "5%")
    assert asked.before(10_000) == ("traffic", "5%", "25%", "promotion")


@pytest.mark.parametrize("point", ["0%", "100%", "sometime", True, -1, "2.555%"])
def test_a_gate_that_stands_nowhere_is_refused(point: object) -> None:
    with pytest.raises(ValidationError, match="expected"):
        gates(at=[point])


@pytest.mark.parametrize("names", [[], ["ann", " ANN "], ["ann", ""], ["ann"]])
def test_approvers_who_cannot_approve_are_refused(names: list[str]) -> None:
    with pytest.raises(ValidationError, match="approvers"):
        gates(approvers=names)


def test_one_approver_is_enough_for_an_own_release() -> None:
    alone = gates(approvers=["ann"], own_release=True)
    gate = OpenGate("promotion", PLAN, NOW + timedelta(hours=1), "ann", alone)
    ruling = gate.ruling([said("approve")], NOW)
    assert ruling
    assert ruling.approved


def test_an_approval_lets_it_go_on_and_says_by_whom() -> None:
    ruling = opened().ruling([said("approve", " Ann ", reason="looks fine", verified=True)], NOW)
    assert ruling
    assert ruling.approved
    assert "Ann (verified): looks fine" in ruling.reason


def test_one_rejection_is_enough() -> None:
    ruling = opened(starter="").ruling([said("approve", "ann"), said("reject", "bob", reason="no")], NOW)
    assert ruling
    assert not ruling.approved
    assert "bob (claimed): no" in ruling.reason


@pytest.mark.parametrize(
    ("decision", "terms", "why"),
    [
        (said("approve", "mallory"), {}, "not among the approvers"),
        (said("approve", "carol"), {}, "started this release"),
        (said("approve"), {"approval": "verified"}, "own link"),
        (said("approve", plan="q" * 64), {}, "has changed"),
    ],
)
def test_what_does_not_count_is_said(decision: Decision, terms: dict[str, object], why: str) -> None:
    gate = opened(**terms)
    assert why in gate.refusal(decision)
    assert gate.ruling([decision], NOW) is None


def test_who_started_it_may_still_reject_it() -> None:
    ruling = opened().ruling([said("reject", "carol")], NOW)
    assert ruling
    assert not ruling.approved


def test_two_people_are_needed_where_nobody_knows_who_started_it() -> None:
    gate = opened(starter="")
    assert gate.ruling([said("approve", "ann"), said("approve", "ANN", 1)], NOW) is None
    both = gate.ruling([said("approve", "ann"), said("approve", "bob", 1)], NOW)
    assert both
    assert both.approved


@pytest.mark.parametrize(("on_timeout", "approved"), [("reject", False), ("approve", True)])
def test_the_deadline_decides_as_the_file_says(on_timeout: str, approved: bool) -> None:  # noqa: FBT001
    gate = opened(on_timeout=on_timeout)
    assert gate.ruling([], NOW + timedelta(minutes=59)) is None
    ruling = gate.ruling([], NOW + timedelta(hours=1))
    assert ruling
    assert ruling.approved is approved
    assert "on_timeout: 0 of 1 approvals" in ruling.reason


def test_a_hold_moves_the_deadline_and_never_brings_it_nearer() -> None:
    gate = opened()
    long = said("hold", minute=50, held_for=timedelta(minutes=30))
    short = said("hold", minute=1, held_for=timedelta(minutes=1))
    assert gate.until([short]) == gate.deadline
    assert gate.until([long, short]) == NOW + timedelta(minutes=80)
    assert gate.ruling([long], NOW + timedelta(minutes=79)) is None
    assert gate.ruling([long], NOW + timedelta(minutes=80)) is not None
    stranger = said("hold", "mallory", minute=50, held_for=timedelta(days=9))
    assert gate.until([stranger]) == gate.deadline
