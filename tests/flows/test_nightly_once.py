"""Whole nights on Prefect's real engine: nothing is released twice, whatever is killed, repeated or there twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tasks.domain.errors import ConflictError
from tasks.domain.schedule import Schedule
from tasks.nights.book import nights, open_book
from tests.flows.nights import record, run, service
from tests.rig.carrier import REFUSED, Carrier


class Died(BaseException):
    """The night's process was killed."""


def test_a_night_that_is_over_is_not_begun_again(carrier: Carrier, folder: Path, at: datetime) -> None:
    carrier.ends["b"] = "RolledBack"
    services = [service(carrier, folder, name) for name in "ab"]
    first = run(services, at)
    again = run(services, at)
    assert (again.name, again.message) == (first.name, first.message)
    assert carrier.runs() == ["a", "b"]


def test_another_night_of_the_same_day_releases_nothing_again(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    carrier.ends["b"] = REFUSED
    services = [service(carrier, folder, name) for name in "ab"]
    run(services, at)
    later = run(services, at.replace(hour=5))
    assert carrier.runs() == ["a", "b"], "not even b, which has no journal: its run is the same"
    assert later.message == f"Night of {at.date()}: 2 services looked at, 0 released, 1 failed, 1 left out."


@pytest.mark.parametrize("when", ["asked", "waits"])
def test_a_night_that_was_killed_goes_on_and_releases_nothing_twice(
    carrier: Carrier, folder: Path, at: datetime, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    services = [service(carrier, folder, name) for name in "abcd"]
    carrier.halted = True

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        if when == "asked":
            patch.setattr("flows.waves.Book.put", _dying_put)
        else:
            patch.setattr("flows.waves.time", SimpleNamespace(sleep=die))
        with pytest.raises(Died):
            run(services, at)
    assert carrier.runs() == (["a"] if when == "asked" else ["a", "b"])
    (folder / "c").write_text("9.9.9\n")
    carrier.halted = False
    assert run(services, at).is_completed()
    assert carrier.runs() == ["a", "b", "c", "d"]
    assert carrier.stable["c"] == "1.1.0", "the night keeps to what it had decided"


def _dying_put(book: Any, entry: Any) -> None:  # noqa: ANN401 - as replaced
    """Be killed after the run was asked for, before that is recorded."""
    if entry.run:
        raise Died
    book.change(entries=tuple(entry if one.service == entry.service else one for one in book.record.entries))


def test_two_processes_never_carry_the_same_night(carrier: Carrier, folder: Path, at: datetime) -> None:
    with open_book(f"{at:%Y-%m-%d-%H%M}", at.date()):
        state = run([service(carrier, folder, "a")], at)
    assert state.is_failed()
    assert "carried on by another process" in str(state.message)
    with pytest.raises(ConflictError):
        state.result()
    assert carrier.runs() == []


@pytest.mark.parametrize(
    ("times", "name"),
    [
        (
            [datetime(2025, 10, 26, 0, 30, tzinfo=UTC), datetime(2025, 10, 26, 1, 30, tzinfo=UTC)],
            "2025-10-26-0230",
        ),
        ([datetime(2026, 3, 29, 1, 30, tzinfo=UTC)], "2026-03-29-0330"),
    ],
    ids=["02:30 twice", "no 02:30"],
)
def test_a_night_in_which_clocks_change_releases_once(
    carrier: Carrier, folder: Path, times: list[datetime], name: str
) -> None:
    schedule = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    services = [service(carrier, folder, "a", schedule=schedule), service(carrier, folder, "other")]
    for at in times:
        assert run(services, at, schedule=schedule).is_completed()
    (path,) = nights().glob("*.json")
    assert path.name.startswith(name)
    assert record().date == times[0].astimezone(ZoneInfo("Europe/Berlin")).date()
    assert carrier.runs() == ["a"], "the other service has no such schedule"


def test_a_service_that_is_there_twice_is_refused(carrier: Carrier, folder: Path, at: datetime) -> None:
    one = service(carrier, folder, "a")
    state = run([one, one], at)
    assert state.is_failed()
    assert "services: found 'a', expected each service once" in str(state.message)
