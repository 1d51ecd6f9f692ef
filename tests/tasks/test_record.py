"""What a journal says of its release, line by line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.model import Match, Outcome, Revision, Slot, Split, Traffic
from tasks.journal import Journal
from tasks.record import Opening, Record, traffic_from_json, traffic_to_json
from tests.rig.fakes import make_service

STABLE = Revision("shop", Slot.BLUE, "v1")
CANDIDATE = {"slot": "candidate", "version": "v2"}
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
Tell = Callable[..., Record]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """Opens a release, writes lines of the given kinds, and reads the record."""
    journal = Journal(tmp_path / "shop" / "r1.jsonl")
    opening = Opening("canary", make_service("canary"), "v2", STABLE, 4)
    journal.append("opened", **opening.to_json())

    def write(kind: str = "", key: str = "", **data: Any) -> Record:  # noqa: ANN401 - as a journal takes it
        if kind:
            journal.append(kind, key, **data)
        return Record.read(journal)

    return write


def asked(split: Split, **more: object) -> dict[str, object]:
    return traffic_to_json(Traffic(split, **more))  # type: ignore[arg-type]  # fields by name


HALF = Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})


@pytest.mark.parametrize("stable", [STABLE, None])
def test_the_first_line_comes_back_as_it_was(stable: Revision | None) -> None:
    opening = Opening("canary", make_service("canary", affinity={"ttl": "30d"}), "v2", stable, 4)
    assert Opening.from_json(opening.to_json()) == opening


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(Split.all_to(Slot.BLUE)),
        Traffic(
            HALF,
            matched=Slot.CANDIDATE,
            matches=(Match("header", "x-tester", "1"), Match("cookie", "who", "me")),
            mirror=Slot.CANDIDATE,
            mirror_share=1234,
            affinity="davy",
            affinity_key="r1",
            affinity_ttl=timedelta(days=400),
            preview=Slot.CANDIDATE,
        ),
    ],
)
def test_traffic_comes_back_from_a_line_as_it_was(traffic: Traffic, tell: Tell) -> None:
    assert traffic_from_json(traffic_to_json(traffic)) == traffic
    assert tell("asked", **traffic_to_json(traffic)).traffic == traffic


def test_a_release_that_has_just_begun(tell: Tell) -> None:
    record = tell()
    assert (record.ended, record.outcome, record.reverting, record.traffic) == (None, None, None, None)
    assert (record.live_since, record.exposed, record.due) == (None, (), ())
    assert not record.closed
    assert not record.frozen


def test_traffic_counts_as_live_only_once_it_was_seen_and_until_more_is_asked_for(tell: Tell) -> None:
    assert tell("asked", **asked(HALF)).live_since is None
    live = tell("live", split=HALF.to_json())
    assert live.live_since == live.lines[-1].at
    assert tell("asked", **asked(Split.all_to(Slot.BLUE))).live_since is None


def test_the_new_version_is_exposed_where_users_reach_it(tell: Tell) -> None:
    with_baseline = Split({Slot.BLUE: 9000, Slot.CANDIDATE: 500, Slot.BASELINE: 500})
    assert tell("asked", **asked(with_baseline)).exposed == (Slot.CANDIDATE,)
    everyone = Split.all_to(Slot.BLUE)
    assert tell("asked", **asked(everyone, preview=Slot.GREEN)).exposed == ()
    assert tell("asked", **asked(everyone, matched=Slot.GREEN)).exposed == (Slot.GREEN,)
    assert tell("asked", **asked(everyone, mirror=Slot.GREEN)).exposed == (Slot.GREEN,)
    assert tell("asked", **asked(Split.all_to(Slot.GREEN))).exposed == (Slot.GREEN,)


def test_a_release_is_closed_when_what_is_due_was_retired(tell: Tell) -> None:
    record = tell("due", **CANDIDATE, when=WHEN)
    assert record.due == ((Revision("shop", Slot.CANDIDATE, "v2"), WHEN),)
    assert not tell("ended", outcome=Outcome.PROMOTED, message="").closed
    record = tell("retired", **CANDIDATE)
    assert record.due == ()
    assert record.closed


def test_stable_is_not_retired_by_the_way_back(tell: Tell) -> None:
    tell("due", slot="blue", version="v1", when=WHEN)
    tell("reverting", reason="", outcome=Outcome.ROLLED_BACK, by="guard")
    assert tell("ended", outcome=Outcome.ROLLED_BACK, message="").closed


def test_a_frozen_release_stays_open_until_it_is_thawed(tell: Tell) -> None:
    record = tell("ended", outcome=Outcome.FROZEN, message="left as it is")
    assert record.frozen
    assert not record.closed
    record = tell("thawed")
    assert not record.frozen
    assert record.closed


def test_the_first_word_of_the_way_back_and_the_last_request_to_abort_count(tell: Tell) -> None:
    tell("reverting", reason="first", outcome="RolledBack", by="guard")
    record = tell("reverting", reason="second", outcome="Aborted", by="Ada")
    assert record.reverting
    assert record.reverting.data["reason"] == "first"


def test_a_step_has_the_result_that_was_recorded_last(tell: Tell) -> None:
    tell("intent", "bake-5%")
    assert tell().result_of("bake-5%") is None
    tell("outcome", "bake-5%", result=1)
    again = tell("outcome", "bake-5%", result=2).result_of("bake-5%")
    assert again
    assert again.data["result"] == 2
    assert tell().result_of("bake-25%") is None
