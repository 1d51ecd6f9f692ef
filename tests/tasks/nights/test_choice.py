"""What is released, in which waves, what is started next; and that a night's release has one name."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.nightly import Night
from tasks.domain.versions import SEMVER
from tasks.nights.choice import TakenBack, choose, in_waves, release_id, startable, stopped
from tasks.nights.entry import Decision, Entry
from tasks.versions import Found

AT = datetime(2026, 11, 3, 1, tzinfo=UTC)
RELEASE, LEAVE_OUT = Decision.RELEASE, Decision.LEAVE_OUT


@pytest.mark.parametrize(
    ("found", "stable", "decision", "reason"),
    [
        (None, "1.0.0", LEAVE_OUT, "its source has no version that the pattern takes"),
        (Found("1.0.0"), "1.0.0", LEAVE_OUT, "no newer version: the newest is stable"),
        (Found("b", "d1", "d1"), "a", LEAVE_OUT, "no newer version: the newest is stable under the name b"),
        (Found("b", "", ""), "a", RELEASE, "newer than stable a"),
        (Found("1.9.0"), "1.10.0", LEAVE_OUT, "the newest version, 1.9.0, is older than stable 1.10.0"),
        (Found("1.10.0", "d2", "d1"), "1.9.0", RELEASE, "newer than stable 1.9.0"),
        (Found("1.0.0"), "", RELEASE, "its first version"),
    ],
)
def test_only_what_is_new_is_released(
    found: Found | None, stable: str, decision: Decision, reason: str
) -> None:
    assert choose(found, stable, None, SEMVER) == (decision, reason)


@pytest.mark.parametrize(
    ("was", "is_", "decision"),
    [("d1", "d1", LEAVE_OUT), ("d1", "d2", RELEASE), ("", "d2", LEAVE_OUT), ("d1", "", LEAVE_OUT)],
)
def test_what_was_rolled_back_is_left_out_unless_its_content_is_another(
    was: str, is_: str, decision: Decision
) -> None:
    before = TakenBack("r1", "rolled back", AT, was)
    chosen, reason = choose(Found("1.1.0", is_), "1.0.0", before, SEMVER)
    assert chosen is decision
    assert reason.startswith("rolled back before")
    assert decision is RELEASE or reason.endswith("on 2026-11-03, by r1")


def test_a_release_s_id_is_the_same_in_one_night_only_and_tells_versions_apart() -> None:
    found, night = Found("1.4.2", "d1"), date(2026, 11, 3)
    assert release_id("shop", found, night) == release_id("shop", found, night)
    assert release_id("shop", found, night).startswith("shop-1.4.2-20261103-night-")
    others = [
        release_id("cart", found, night),
        release_id("shop", Found("1.4-2", "d1"), night),
        release_id("shop", Found("1.4.2", "d2"), night),
        release_id("shop", found, date(2026, 11, 4)),
    ]
    assert len({release_id("shop", found, night), *others}) == 5
    assert "/" not in release_id("shop", Found("../../x"), night)


def test_services_that_are_in_no_wave_come_last() -> None:
    night = Night(waves=(("b",), ("gone",), ("d", "a")))
    assert in_waves(["a", "b", "c", "d", "e"], night) == [["b"], ["d", "a"], ["c", "e"]]
    assert in_waves([], night) == []


def entry(name: str, *, began: bool = False, outcome: str = "") -> Entry:
    made = Entry(service=name, decision=RELEASE, reason="new", began=AT if began or outcome else None)
    return made.over(AT, outcome, "") if outcome else made


def test_only_as_many_are_started_as_there_is_room_for() -> None:
    wave = [entry("a", began=True), entry("b", outcome="Promoted"), entry("c"), entry("d"), entry("e")]
    assert [one.service for one in startable(wave, wave, Night(max_at_once=3))] == ["c", "d"]
    assert startable(wave, wave, Night(max_at_once=1)) == []


@given(
    st.lists(st.sampled_from(["waits", "runs", "Promoted", "Tried", "RolledBack", "Failed"]), max_size=12),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_cap_and_the_stop_hold_whatever_has_happened(states: list[str], most: int, stop: int) -> None:
    night = Night(max_at_once=most, stop_after_failures=stop)
    entries = [
        entry(str(n), began=state == "runs", outcome="" if state in ("waits", "runs") else state)
        for n, state in enumerate(states)
    ]
    started = startable(entries, entries, night)
    failed = sum(state in ("RolledBack", "Failed") for state in states)
    assert stopped(entries, night) is (failed >= stop)
    if failed >= stop:
        assert started == []
    else:
        room = max(0, most - states.count("runs"))
        assert len(started) == min(room, states.count("waits"))
