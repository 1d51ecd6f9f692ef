"""Whole nights on Prefect's real engine: what is released, when, how many at once, and what is told of it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State

from tasks.nights.book import nights
from tasks.nights.entry import Decision
from tests.flows.nights import record, run, service
from tests.rig.carrier import REFUSED, Carrier, carrying


def artifact_of(state: State[None]) -> str:
    """The only artifact of the run that came to *state*."""
    wanted = FlowRunFilter.model_validate({"id": {"any_": [state.state_details.flow_run_id]}})
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(flow_run_filter=wanted)
    return str(artifact.data)


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
