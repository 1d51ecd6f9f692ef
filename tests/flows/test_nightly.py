"""Whole nights on Prefect's real engine: what is released, when, how many at once, and never twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from flows.nightly import nightly
from tasks.domain.errors import ConflictError
from tasks.domain.nightly import Night, NightlyService
from tasks.domain.schedule import Schedule
from tasks.nights.book import NightRecord, nights, open_book, read_night
from tasks.nights.entry import Decision
from tests.rig.carrier import REFUSED, Carrier, carrying
from tests.rig.engine import start_engine

DAYS = count()
"""Each test has a day of its own: they share a server, and a version is released once a day."""


class Died(BaseException):
    """The night's process was killed."""


@pytest.fixture
def carrier(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Carrier]:
    start_engine(request)
    del home
    monkeypatch.setattr("flows.waves.POLL", 0.02)
    # A server on SQLite says 503 now and then; it need not be given seconds.
    monkeypatch.setattr("prefect.client.base.clamped_poisson_interval", lambda *_: 0.05)
    with carrying("rolling/davy") as made:
        monkeypatch.setattr("tasks.nightly.find_stable", lambda file: (made.revision(file.service), 2))
        yield made


@pytest.fixture
def at() -> datetime:
    """When the test's night begins."""
    return datetime(2026, 1, 7, 1, 0, tzinfo=UTC) + timedelta(days=next(DAYS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def service(carrier: Carrier, folder: Path, name: str, version: str = "1.1.0", **more: Any) -> NightlyService:  # noqa: ANN401
    """A service whose users are on 1.0.0, and whose newest version is *version*."""
    carrier.stable.setdefault(name, "1.0.0")
    (folder / name).write_text(f"{version}\n")
    content = {
        "service": name,
        "strategy": "rolling",
        "fleet": {"kind": "local", "command": "serve"},
        "router": {"kind": "envoy", "port": 8080},
    }
    versions = {"kind": "file", "path": str(folder / name)}
    return NightlyService.model_validate({"service": content, "versions": versions, **more})


def run(
    services: list[NightlyService],
    at: datetime,
    schedule: Schedule | None = None,
    **night: Any,  # noqa: ANN401
) -> State[None]:
    """Start a night as Prefect does, for the time that it is scheduled for."""
    parameters = {
        "services": [one.model_dump(mode="json") for one in services],
        "night": Night.model_validate(night).model_dump(mode="json"),
        "schedule": schedule.model_dump(mode="json") if schedule else None,
    }
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(nightly, parameters=parameters, state=Scheduled(scheduled_time=at))
    state = run_flow(nightly, flow_run=made, parameters=parameters, return_type="state")
    assert isinstance(state, State)
    return state


def artifact_of(state: State[None]) -> str:
    """The only artifact of the run that came to *state*."""
    wanted = FlowRunFilter.model_validate({"id": {"any_": [state.state_details.flow_run_id]}})
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(flow_run_filter=wanted)
    return str(artifact.data)


def record() -> NightRecord:
    """The only night's record."""
    (path,) = nights().glob("*.json")
    return read_night(path)


def test_what_is_new_is_released_and_the_rest_left_out_with_a_reason(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    carrier.stable |= {"old": "2.0.0", "same": "1.1.0"}
    busy = service(carrier, folder, "busy")
    carrier.open(busy.service, "1.0.9", "by-hand")
    tried = service(carrier, folder, "tried")
    carrier.open(tried.service, "1.1.0", "before").append("ended", outcome="RolledBack", message="worse")
    names = ("new", "old", "same")
    state = run([busy, tried, *(service(carrier, folder, name) for name in names)], at)
    assert state.is_completed()
    assert state.message == f"Night of {at.date()}: 5 services looked at, 1 released, 0 failed, 4 left out."
    reasons = {entry.service: entry.reason for entry in record().entries}
    assert reasons["new"] == "newer than stable 1.0.0"
    assert reasons["old"] == "the newest version, 1.1.0, is older than stable 2.0.0"
    assert reasons["same"] == "no newer version: the newest is stable"
    assert reasons["busy"] == "a release is under way: by-hand of 1.0.9"
    assert reasons["tried"].startswith("rolled back before, on ")
    assert carrier.begun == ["new"]
    assert carrier.stable["new"] == "1.1.0"


def test_a_night_leaves_one_report_in_prefect_and_one_on_disk(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    carrier.ends["bad"] = "RolledBack"
    state = run([service(carrier, folder, "good"), service(carrier, folder, "bad")], at)
    assert (state.name, state.is_failed()) == ("Failed", True)
    (path,) = nights().glob("*.json")
    entries = {entry["service"]: entry for entry in json.loads(path.read_text())["entries"]}
    assert (entries["good"]["outcome"], entries["bad"]["outcome"]) == ("Promoted", "RolledBack")
    assert entries["bad"]["message"] == "bad RolledBack: 1.1.0"
    shown = artifact_of(state)
    assert "| bad | 1.0.0 | 1.1.0 | release | newer than stable 1.0.0 | 1 | RolledBack: " in shown
    assert f"[run]({entries['bad']['url']})" in shown
    assert entries["bad"]["run"] in entries["bad"]["url"]


def test_waves_follow_each_other_and_no_more_run_at_once_than_may(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    carrier.took = 0.3
    names = ["f", "e", "d", "c", "b", "a"]
    services = [service(carrier, folder, name) for name in names]
    waves = [["a"], ["b", "c", "d"], ["gone"]]
    assert run(services, at, waves=waves, max_at_once=2).is_completed()
    assert record().waves == (("a",), ("b", "c", "d"), ("f", "e"))
    assert carrier.begun[0] == carrier.ended[0] == "a"
    assert set(carrier.begun[1:4]) == set(carrier.ended[1:4]) == {"b", "c", "d"}
    assert carrier.most == 2


def test_nothing_more_is_started_after_so_many_failures_but_what_runs_goes_on(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    carrier.ends |= {"a": REFUSED, "b": "RolledBack"}
    carrier.took = 0.3
    services = [service(carrier, folder, name) for name in "abcde"]
    state = run(services, at, max_at_once=3, stop_after_failures=1)
    assert (state.name, state.is_failed()) == ("Stopped", True)
    assert sorted(carrier.runs()) == ["a", "b", "c"]
    outcomes = {entry.service: (entry.decision, entry.outcome) for entry in record().entries}
    assert outcomes["a"] == (Decision.RELEASE, "Failed")
    assert outcomes["b"] == (Decision.RELEASE, "RolledBack")
    assert outcomes["c"] == (Decision.RELEASE, "Promoted")
    assert outcomes["d"] == outcomes["e"] == (Decision.LEAVE_OUT, "")
    assert record().entry("d").reason.startswith("not started: ")
    assert record().entry("a").message == "a: found no port"


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


def test_a_source_that_fails_leaves_its_service_alone_and_is_told(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    services = [service(carrier, folder, name) for name in "ab"]
    (folder / "a").unlink()
    state = run(services, at)
    assert state.is_failed()
    assert "1 released, 0 failed, 0 left out, 1 could not be looked at" in str(state.message)
    assert record().entry("a").decision is Decision.UNKNOWN
    assert "found no such file" in record().entry("a").reason
    assert carrier.runs() == ["b"]


def test_frozen_time_and_holidays_start_nothing(carrier: Carrier, folder: Path, at: datetime) -> None:
    today = datetime.now(UTC).date()
    freeze = [{"when": f"{today}..{date(2100, 1, 1)}", "reason": "stocktaking", "services": ["a"]}]
    services = [service(carrier, folder, name) for name in "ab"]
    assert run(services, at, freeze=freeze).is_completed()
    assert record().entry("a").reason == f"frozen time: {today}..2100-01-01 (stocktaking)"
    assert carrier.runs() == ["b"]


def test_a_release_that_takes_too_long_is_left_to_itself(
    carrier: Carrier, folder: Path, at: datetime
) -> None:
    carrier.took = 60
    state = run([service(carrier, folder, "a")], at, release_within="300ms")
    assert state.is_failed()
    assert (record().entry("a").outcome, record().stopped) == ("UnderWay", False)


def test_a_strategy_without_deployment_is_told(carrier: Carrier, folder: Path, at: datetime) -> None:
    one = service(carrier, folder, "a")
    other = one.model_copy(update={"service": one.service | {"strategy": "canary"}})
    assert run([other], at).is_failed()
    assert record().entry("a").outcome == "NotStarted"
    assert "found no deployment canary/a or canary/davy" in record().entry("a").message


def test_a_service_s_own_deployment_comes_first(carrier: Carrier, folder: Path, at: datetime) -> None:
    with carrying("rolling/own") as own:
        assert run([service(carrier, folder, "own")], at).is_completed()
        assert (own.runs(), carrier.runs()) == (["own"], [])


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
