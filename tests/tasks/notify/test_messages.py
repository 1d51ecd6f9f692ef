"""What people read: first what happened and whether there is anything to do, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.model import Finding, Outcome, Result, Verdict
from tasks.domain.notices import Event
from tasks.notify.base import Links, Message, one_line
from tasks.notify.messages import messages_of
from tasks.record import Opening, Record
from tests.rig.fakes import make_service
from tests.tasks.notify.releases import LINKS, Releasing
from tests.tasks.report.told import STABLE, Told, promoted, taken_back

ALL = frozenset(Event)


def messages(told: Told, on: frozenset[Event] = ALL, links: Links = LINKS) -> list[Message]:
    return list(messages_of(told.record, on, links))


def last(told: Told) -> Message:
    return messages(told)[-1]


def told_of(folder: Path, **service: object) -> Told:
    steps = [{"share": share, "bake": "5m"} for share in (5, 25, 50)]
    whole: dict[str, Any] = {"steps": steps, "watch": "2m", **service}
    return Told(folder, "2.0", service=make_service("canary", **whole))


def test_a_start_says_what_will_be_done_and_how_long_it_takes(tmp_path: Path) -> None:
    start = last(told_of(tmp_path))
    assert start.headline == (
        "shop 2.0 is released by canary: 5 %, 25 %, 50 %, 100 %, about 17 min; stable is 1.1. Nothing to do."
    )
    assert start.fields["event"] == "start"
    assert not start.is_call


def test_a_release_in_many_steps_is_told_by_its_first_and_last_ones(tmp_path: Path) -> None:
    steps = [{"share": share, "bake": "1h"} for share in range(10, 91, 10)]
    headline = last(told_of(tmp_path, steps=steps)).headline
    assert "by canary: 10 %, 20 %, ..., 90 %, 100 %, about 9 h 2 min;" in headline


def test_a_first_version_and_a_rollback_have_no_steps_to_tell(tmp_path: Path) -> None:
    first = Told(tmp_path, "1.0", stable=None)
    assert (
        last(first).headline
        == "shop 1.0 is released by canary: 100 %; it is the first version. Nothing to do."
    )
    back = Told(tmp_path, "1.0", release="r2")
    opening = Opening("rollback", make_service("canary"), "1.0", STABLE, 4)
    line = back.record.lines[0]
    record = Record("r2", (type(line)(line.at, 1, "opened", "", opening.to_json(), line.before),))
    assert next(messages_of(record, ALL, LINKS)).headline == (
        "shop 1.0 comes back (rollback); stable is 1.1. Nothing to do."
    )


def test_a_start_waits_for_the_run_that_it_links_to(releasing: Releasing) -> None:
    first = Record(releasing.record.release, releasing.record.lines[:1])
    assert list(messages_of(first, ALL, LINKS)) == []
    start = next(messages_of(releasing.record, ALL, LINKS))
    assert [link.url for link in start.links] == ["https://prefect.example/run/run-1"]
    assert start.fields["run_url"] == "https://prefect.example/run/run-1"


def test_a_gate_says_until_when_and_where_to_answer(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    told.line(1, "run", id="run-1")
    told.live(2, candidate=25, blue=75)
    told.line(3, "gate", "25%", deadline="2026-11-23T15:40:00+00:00", plan="p", images=[])
    gate = last(told)
    assert (
        gate.headline
        == "Approval needed: shop 2.0 waits until 15:40 UTC for approval before more than 25% of the traffic."
    )
    assert gate.details == ("It has 25 % of the traffic now; stable is 1.1.",)
    assert [(link.text, link.url) for link in gate.links] == [
        ("Approve or reject", "https://davy.example/r1"),
        ("The evidence", "https://prefect.example/run/run-1"),
    ]
    assert gate.is_call
    assert gate.fields["deadline"] == "2026-11-23T15:40:00+00:00"


def test_a_deadline_of_another_day_is_told_with_its_day(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    told.line(3, "gate", "promotion", deadline="2026-11-24T02:00:00+01:00", plan="p", images=[])
    assert "waits until 2026-11-24 01:00 UTC" in last(told).headline


@pytest.mark.parametrize(
    ("approved", "reason", "said"),
    [
        (True, "approved by alice (verified)", "goes on: approved by alice (verified)."),
        (False, "rejected by bob (claimed): no", "goes back: rejected by bob (claimed): no."),
    ],
)
def test_what_a_gate_came_to_says_by_whom(tmp_path: Path, approved: bool, reason: str, said: str) -> None:  # noqa: FBT001
    told = told_of(tmp_path)
    told.line(3, "ruling", "25%", approved=approved, reason=reason, plan="p")
    assert last(told).headline == f"shop 2.0 {said} Nothing to do."


def test_a_way_back_says_first_what_users_saw(tmp_path: Path) -> None:
    start, back, end = messages(taken_back(tmp_path))
    assert start.event == "start"
    assert back.headline == (
        "shop 1.2-errors: 5 % of its requests failed, at most 1 % allowed, so it goes back to 1.1 by itself. "
        "Nothing to do yet."
    )
    assert back.details[0] == "It had 20 % of the traffic; found by guard."
    assert back.is_call
    assert end.headline == (
        "shop 1.2-errors was taken back after 5.0 s at 20 %: 5 % of its requests failed, at most 1 % allowed; "
        "all traffic is on 1.1 again since 14:03:07 UTC. Nothing to do."
    )
    assert (end.fields["outcome"], end.fields["seconds"]) == ("RolledBack", 7.2)
    assert end.fields["reason"] == "5 % of its requests failed, at most 1 % allowed"
    assert (end.is_call, end.is_last) == (True, True)


def test_a_promotion_needs_nobody(tmp_path: Path) -> None:
    end = last(promoted(tmp_path))
    assert end.headline.startswith("shop 1.2 has all traffic since 14:03:22 UTC")
    assert end.headline.endswith("Nothing to do.")
    assert (end.is_call, end.fields["reason"], end.fields["outcome"]) == (False, None, "Promoted")


@pytest.mark.parametrize("outcome", [Outcome.FROZEN, Outcome.FAILED])
def test_an_end_that_needs_a_person_says_so_first(tmp_path: Path, outcome: Outcome) -> None:
    told = told_of(tmp_path)
    told.line(3, "ended", outcome=outcome, message="it broke")
    assert last(told).headline.startswith("Look now: shop 2.0 ")
    assert last(told).is_call


def test_a_service_that_freezes_does_not_promise_to_go_back(tmp_path: Path) -> None:
    told = told_of(tmp_path, on_failure="freeze")
    told.line(3, "reverting", reason="it broke", outcome="RolledBack", by="guard")
    assert last(told).headline == (
        "Look now: shop 2.0: it broke, so it is left as it is for a person to look at."
    )


def test_what_holds_up_a_way_back_calls_for_a_person_once(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    told.line(3, "reverting", reason="it broke", outcome="RolledBack", by="guard")
    for after, what in ((4, "Envoy is away"), (5, "Envoy is away"), (6, "no healthy replica")):
        told.line(after, "trouble", what=what)
    calls = [message.headline for message in messages(told) if message.event == "trouble"]
    assert calls == [
        "Look now: shop 2.0 cannot go back to 1.1 yet: Envoy is away.",
        "Look now: shop 2.0 cannot go back to 1.1 yet: no healthy replica.",
    ]


def test_a_persons_own_abort_is_told_by_its_end_alone(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    told.line(2, "abort", by="alice")
    told.line(3, "reverting", reason="aborted by alice", outcome="Aborted", by="watcher")
    told.line(4, "ended", outcome="Aborted", message="aborted by alice")
    assert [message.event for message in messages(told)] == ["start", "end"]
    assert "alice asked for it" in last(told).headline
    assert not last(told).is_call


def verdict(told: Told, result: Result) -> None:
    findings = (Finding("error_rate", "candidate", result, None, "too few requests were seen"),)
    told.verdict(5, Verdict(result, findings, {}))


@pytest.mark.parametrize("result", Result)
@pytest.mark.parametrize(
    ("on", "told_results"),
    [
        ({Event.VERDICT, Event.FAILURE}, {Result.MARGINAL, Result.INCONCLUSIVE}),
        ({Event.VERDICT}, {Result.MARGINAL, Result.INCONCLUSIVE, Result.FAIL}),
        ({Event.VERDICT, Event.PASSES}, set(Result)),
        ({Event.START}, set()),
    ],
    ids=lambda found: " and ".join(sorted(found)),
)
def test_verdicts_are_told_as_asked_and_a_failed_one_once(
    tmp_path: Path, result: Result, on: set[Event], told_results: set[Result]
) -> None:
    told = told_of(tmp_path)
    told.live(2, candidate=5, blue=95)
    verdict(told, result)
    said = [m for m in messages(told, frozenset(on)) if m.event == "verdict"]
    assert bool(said) == (result in told_results)
    assert all(message.headline.startswith("shop 2.0 was judged at 5 %: ") for message in said)


def test_evidence_that_cannot_be_read_keeps_nobody_from_being_told(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    told.line(3, "check", failed=["error_rate"], reason="5 % failed", evidence={"limits": [{"frame": "?"}]})
    told.line(3, "outcome", "judge", result={"result": "marginal", "findings": [{}], "evidence": {}})
    told.line(4, "reverting", reason="5 % failed", outcome="RolledBack", by="guard")
    told.line(5, "ended", outcome="RolledBack", message="5 % failed")
    said = [message.headline for message in messages(told)[1:]]
    assert said == [
        "shop 2.0 was judged at 0 %: marginal. Nothing to do.",
        "shop 2.0: 5 % failed, so it goes back to 1.1 by itself. Nothing to do yet.",
        "shop 2.0 ended: 5 % failed. Nothing to do.",
    ]


def test_each_message_has_the_id_of_its_line_and_told_ones_are_left_out(tmp_path: Path) -> None:
    told = taken_back(tmp_path)
    ids = [message.id for message in messages(told)]
    assert ids == [told.record.lines[n].hash for n in (0, -4, -1)]
    assert [m.id for m in messages_of(told.record, ALL, LINKS, told=ids[:2])] == ids[2:]


def test_a_journals_message_does_not_change_with_what_comes_after(tmp_path: Path) -> None:
    told = taken_back(tmp_path)
    whole = {message.id: message for message in messages(told)}
    for end in range(1, len(told.record.lines) + 1):
        part = Record("r1", told.record.lines[:end])
        assert all(whole[message.id] == message for message in messages_of(part, ALL, LINKS))


def test_text_from_outside_is_one_line_and_cut() -> None:
    assert one_line("a\r\nb\t\x00c  d") == "a b c d"
    assert one_line("x" * 50, 20) == f"{'x' * 16} ..."
    assert len(one_line("x" * 5000)) <= 300


def test_moments_are_aware(tmp_path: Path) -> None:
    assert last(told_of(tmp_path)).at == datetime(2026, 11, 23, 14, 3, tzinfo=UTC)
