"""What the history keeps of one release."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.errors import JournalError
from tasks.domain.model import Outcome
from tasks.history import Entry, entry_of
from tasks.journal import Journal
from tests.tasks.history.past import Past


def read(past: Past) -> Entry:
    entry = entry_of(Journal(past.path))
    assert entry
    return entry


def after(past: Past, seconds: float) -> object:
    return past.began + timedelta(seconds=seconds)


def test_a_promoted_release(tmp_path: Path) -> None:
    past = Past(tmp_path).line(1, "run", id="abc").promoted(600)
    entry = read(past)
    assert (entry.service, entry.release, entry.kind, entry.version, entry.stable, entry.run) == (
        *("shop", "r1", "canary", "v2", "v1", "abc"),
    )
    assert (entry.outcome, entry.reason, entry.by) == (Outcome.PROMOTED, "", "")
    assert (entry.began, entry.ended, entry.duration) == (
        *(past.began, after(past, 600), timedelta(minutes=10)),
    )
    assert (entry.exposed, entry.steps, entry.largest) == (True, 3, 10_000)
    assert (entry.detected, entry.restored, entry.restoring) == (None, None, None)


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("shop/green@v2: found 0 of 2 healthy", "found 0 of 2 healthy"),
        ("shop: found 0 of 2 healthy", "found 0 of 2 healthy"),
        ("shopping: is over", "shopping: is over"),
        ("error_rate of green: found 5 %", "error_rate of green: found 5 %"),
        ("two\n lines: ", "two lines:"),
    ],
)
def test_the_service_itself_is_left_out_of_why(tmp_path: Path, reason: str, why: str) -> None:
    assert read(Past(tmp_path).failed(reason=reason)).why == why


def test_a_release_that_runs_has_no_end(tmp_path: Path) -> None:
    entry = read(Past(tmp_path).live(10, candidate=20, blue=80))
    assert (entry.ended, entry.outcome, entry.duration, entry.lead_time) == (None, None, None, None)
    assert (entry.steps, entry.largest) == (1, 2000)


@pytest.mark.parametrize("checked", [True, False])
def test_users_are_restored_from_the_failed_check_on(tmp_path: Path, *, checked: bool) -> None:
    past = Past(tmp_path).failed(60, checked=checked)
    entry = read(past)
    assert entry.detected == after(past, 60 if checked else 60.5)
    assert entry.restored == after(past, 62)
    assert entry.restoring == timedelta(seconds=2 if checked else 1.5)
    assert (entry.reason, entry.by) == ("too many errors", "guard")


def test_a_check_that_failed_at_an_earlier_share_has_found_nothing(tmp_path: Path) -> None:
    past = Past(tmp_path).live(10, candidate=5, blue=95)
    past.line(15, "check", failed=["error_rate"], reason="", evidence={})
    past.live(100, candidate=50, blue=50)
    past.line(110, "reverting", reason="drift", outcome=Outcome.ROLLED_BACK, by="flow")
    past.live(111, blue=100).ended(112, Outcome.ROLLED_BACK, "drift")
    entry = read(past)
    assert (entry.detected, entry.degraded) == (after(past, 110), False)


def test_an_abort_counts_from_when_the_person_asked(tmp_path: Path) -> None:
    past = Past(tmp_path).live(10, candidate=5, blue=95).line(30, "abort", by="ana")
    past.line(31, "reverting", reason="aborted by ana", outcome=Outcome.ABORTED, by="watcher")
    past.live(33, blue=100).ended(34, Outcome.ABORTED, "aborted by ana")
    entry = read(past)
    assert (entry.detected, entry.restored, entry.by) == (after(past, 30), after(past, 33), "ana")
    assert (entry.outcome, entry.degraded) == (Outcome.ABORTED, False)


def test_a_frozen_release_is_not_restored_until_it_is_thawed(tmp_path: Path) -> None:
    past = Past(tmp_path).live(10, candidate=5, blue=95)
    past.line(20, "reverting", reason="bad", outcome=Outcome.ROLLED_BACK, by="guard")
    past.ended(20, Outcome.FROZEN, "bad (left as it is, as on_failure says)")
    assert (read(past).restored, read(past).exposed) == (None, True)
    past.live(500, blue=100).line(501, "thawed")
    assert (read(past).restored, read(past).outcome) == (after(past, 500), Outcome.FROZEN)


def test_without_users_there_is_nothing_to_restore(tmp_path: Path) -> None:
    entry = read(Past(tmp_path).stopped())
    assert (entry.exposed, entry.steps, entry.restored) == (False, 0, None)


def test_testers_and_copies_are_no_users(tmp_path: Path) -> None:
    past = Past(tmp_path).live(10, blue=100)
    data = {"split": {"blue": 10_000}, "matched": "candidate", "mirror": "candidate", "mirror_share": 10_000}
    assert not read(past.line(20, "asked", **data)).exposed


def test_a_share_that_was_asked_for_counts_although_nobody_saw_it_live(tmp_path: Path) -> None:
    past = Past(tmp_path).line(10, "asked", split={"blue": 9500, "candidate": 500})
    assert read(past).exposed


def test_a_rollback_restores_from_its_beginning(tmp_path: Path) -> None:
    past = Past(tmp_path, version="v1", stable="v2", kind="rollback").rolled_back(5)
    assert read(past).restoring == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("committed", "lead", "counts"),
    [
        (None, timedelta(minutes=10), "start"),
        ("2026-11-22T11:00:00+00:00", timedelta(minutes=70), "commit"),
        ("2026-11-22T12:00:00+01:00", timedelta(minutes=70), "commit"),
        ("2026-11-22T12:05:00+00:00", timedelta(minutes=10), "start"),
    ],
)
def test_lead_time_counts_from_the_commit_where_it_is_known(
    tmp_path: Path, committed: str | None, lead: timedelta, counts: str
) -> None:
    opening: dict[str, Any] = {"committed": committed} if committed else {}
    entry = read(Past(tmp_path, **opening).promoted(600))
    assert (entry.lead_time, entry.to_json()["lead_from"]) == (lead, counts)


def test_only_promoted_releases_have_a_lead_time(tmp_path: Path) -> None:
    assert read(Past(tmp_path).failed()).lead_time is None


def test_a_first_version_has_nothing_before_it(tmp_path: Path) -> None:
    entry = read(Past(tmp_path, stable=None).live(10, blue=100).ended(11, Outcome.PROMOTED))
    assert (entry.stable, entry.exposed, entry.to_json()["stable"]) == ("", True, None)


def test_a_service_file_of_another_time_is_no_hindrance(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.path.write_bytes(b"")
    past._before, past._encoded = "0" * 64, b""
    service = {"service": "shop", "a field of later": 1}
    past.line(0, "opened", kind="canary", service=service, version="v2", stable=None, replicas=1)
    assert read(past).version == "v2"


def test_a_journal_that_has_not_begun_is_no_release(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"at": "2026')
    assert entry_of(Journal(path)) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda past: past.path.write_bytes(past.path.read_bytes().replace(b"Promoted", b"Rejected")),
        lambda past: past.path.write_bytes(b'{"hello": 1}\n'),
        lambda past: past.line(900, "ended", result="no outcome"),
        lambda past: past.line(900, "asked", traffic="no split"),
    ],
)
def test_a_journal_that_is_none_is_refused_by_its_name(tmp_path: Path, spoil: object) -> None:
    past = Past(tmp_path).promoted()
    spoil(past)  # type: ignore[operator]  # one of the above
    with pytest.raises(JournalError, match=r"r1\.jsonl"):
        entry_of(Journal(past.path))


@pytest.mark.parametrize("committed", ["2026-11-22T11:00:00", "yesterday", 7])
def test_a_commit_time_that_is_none_is_refused(tmp_path: Path, committed: object) -> None:
    with pytest.raises(JournalError, match="expected"):
        read(Past(tmp_path, committed=committed).promoted())
