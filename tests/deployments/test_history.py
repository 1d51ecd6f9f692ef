"""`davy history`: what it reads, prints and writes, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from deployments.history import print_history, read_history, to_json, write_page
from deployments.history_runs import EndedRun, ended_runs
from flows.rollback import rollback
from tasks.domain.errors import InputError
from tasks.domain.model import Outcome
from tasks.domain.settings import settings
from tasks.history import End, History
from tests.rig.bare import run, without_engine
from tests.rig.fakes import make_service, make_world
from tests.rig.small_prefect import Prefect, small_prefect
from tests.rig.world import World
from tests.tasks.history.past import NOW, Past

Tell = Callable[..., Past]


@pytest.fixture
def tell(home: Path) -> Tell:
    """Writes a release into Davy's own journals that began *hours* ago."""
    del home

    def write(release: str, hours: float = 1, **more: object) -> Past:
        ago = NOW - datetime.now(UTC) + timedelta(hours=hours)
        return Past(settings().journals, release, ago=ago, **more)  # type: ignore[arg-type]  # fields by name

    return write


def printed(
    history: History, limit: int = 20, width: int = 110, runs: Sequence[EndedRun] | None = None
) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        print_history(console, history, runs, limit)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_releases_of_real_flows_are_understood(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    without_engine(monkeypatch)
    world: World = make_world(monkeypatch)
    world.have_stable(4)
    world.errors["v3"] = 1.0
    world.sick.add("v4")
    assert run(make_service("canary"), "v2", "r2").name == Outcome.PROMOTED
    assert run(make_service("blue-green"), "v3", "r3").name == Outcome.ROLLED_BACK
    assert run(make_service("rolling"), "v4", "r4").name == Outcome.ROLLED_BACK
    assert rollback.fn("shop", "back").name == Outcome.PROMOTED
    history = read_history("shop", "1h")
    assert [entry.release for entry in history.entries] == ["back", "r4", "r3", "r2"]
    figures = history.services["shop"]
    assert (figures.promoted, figures.rollbacks, figures.unrestored) == (1, 1, 0)
    assert {end: count for end, count in figures.ends.items() if count} == {End.FAILED: 2, End.STOPPED: 1}
    assert figures.failure_rate == 1
    assert figures.restoring
    assert figures.restoring.of == 2, "of the one that was taken back, and of the one rolled back later"
    promoted = history.entries[-1]
    assert (promoted.kind, promoted.stable, promoted.steps, promoted.largest) == ("canary", "v1", 4, 10_000)
    taken_back = history.entries[2]
    assert "error_rate" in taken_back.reason
    assert (taken_back.exposed, taken_back.restored is not None) == (True, True)


def test_each_release_is_one_line_newest_first(tell: Tell) -> None:
    tell("r1", 30, version="v2").promoted(600)
    tell("r2", 20, version="v3").failed(
        60, "error_rate: found 4 %, expected at most 1 %, " + 9 * "and so on "
    )
    tell("r3", 1, version="v4").live(10, candidate=5, blue=95)
    lines = printed(read_history("shop", "30d"))
    assert [line.split()[2:5] for line in lines[1:4]] == [
        ["v4", "canary", "under"],
        ["v3", "canary", "RolledBack"],
        ["v2", "canary", "Promoted"],
    ]
    assert "63 s  error_rate: found 4 %" in lines[2]
    assert max(map(len, lines)) <= 110
    figures = next(line for line in lines if line.startswith("shop"))
    assert "1 (0.2/week)" in figures
    assert "50 % (1 of 2)" in figures
    assert "2.0 s (2.0 s)" in figures


def test_several_services_stand_side_by_side_with_all(tell: Tell) -> None:
    long = "a-service-with-quite-a-long-name"
    tell("r1").promoted()
    tell("w1", service=long, version="a-version-of-many-letters", kind="blue-green-canary").failed(
        60, 30 * "why "
    )
    lines = printed(read_history(None, "30d"))
    assert max(map(len, lines)) <= 110
    assert [line for line in lines if line.startswith("all") and "50 % (1 of 2)" in line]
    assert [line for line in lines if "RolledBack" in line and "why why" in line]
    figures = lines[next(number for number, line in enumerate(lines) if "withdrawn" in line) :]
    assert long in "".join(line[:16] for line in figures), "names are not cut where figures stand"


def test_a_wide_terminal_has_room_for_the_ids(tell: Tell) -> None:
    tell("shop-v2-20261123-120000-abcdef01").promoted()
    history = read_history(None, "30d")
    assert "abcdef01" not in " ".join(printed(history))
    assert "shop-v2-20261123-120000-abcdef01" in " ".join(printed(history, width=200))


def test_what_a_rollback_took_back_is_told(tell: Tell) -> None:
    tell("r1", 30, version="v2", stable="v1").promoted()
    tell("back", 20, version="v1", stable="v2", kind="rollback").rolled_back()
    assert [line for line in printed(read_history(None, "30d")) if "a rollback took it back later" in line]


def test_fewer_are_listed_but_all_count(tell: Tell) -> None:
    for number in range(5):
        tell(f"r{number}", 10 + number).promoted()
    history = read_history(None, "30d")
    lines = printed(history, 2)
    assert "2 of 5 releases; more with --limit" in lines
    assert [line for line in lines if line.startswith("shop") and " 5 (1.2/week)" in line]
    summary = history.to_json(2)
    assert len(summary["releases"]) == 2
    assert summary["figures"]["services"]["shop"]["promoted"] == 5


def test_markup_in_a_reason_stays_text(tell: Tell) -> None:
    tell("r1").failed(60, "[red]found[/] [bold]")
    assert [line for line in printed(read_history(None, "30d")) if "[red]found[/] [bold]" in line]


def test_json_holds_figures_and_releases(tell: Tell) -> None:
    tell("r1", 5, committed=(NOW - timedelta(days=2)).isoformat()).promoted()
    tell("r2", 3, version="v3").failed(60, by="ana")
    summary = json.loads(json.dumps(read_history("shop", "30d").to_json(20)))
    assert summary["figures"]["all"] == summary["figures"]["services"]["shop"]
    assert summary["figures"]["all"]["change_failure_rate"] == 0.5
    assert summary["figures"]["all"]["time_to_restore"] == {
        "median_seconds": 2.0,
        "p90_seconds": 2.0,
        "of": 1,
    }
    failed, promoted = summary["releases"]
    assert (promoted["lead_from"], failed["lead_from"]) == ("commit", None)
    assert (failed["outcome"], failed["by"], failed["restore_seconds"], failed["largest_share"]) == (
        *("RolledBack", "ana", 2.0, 5.0),
    )


def test_without_releases_no_figure_is_shown(home: Path) -> None:
    history = read_history(None, "30d")
    assert printed(history) == ["no releases ended in the last 30d"]
    assert history.to_json(20)["figures"]["all"]["change_failure_rate"] is None
    assert not home.exists(), "asking makes nothing"


def test_what_ended_before_the_span_does_not_count(tell: Tell) -> None:
    tell("r1", 50).promoted()
    assert printed(read_history("shop", "1d")) == ["no releases ended in the last 1d"]
    assert len(read_history("shop", "3d").entries) == 1


def test_a_journal_that_was_changed_is_named_beside_the_others(tell: Tell) -> None:
    tell("r1").promoted()
    bad = tell("r2").promoted().path
    bad.write_bytes(bad.read_bytes().replace(b"Promoted", b"Rejected"))
    history = read_history(None, "30d")
    (line,) = [line for line in printed(history, width=40) if line.startswith("unreadable:")]
    assert str(bad) in line, "whole, to be copied"
    assert (len(history.entries), history.to_json(1)["unreadable"][0]["release"]) == (1, "r2")


def test_many_journals_are_announced_before_they_are_read(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.history.MANY", 2)
    tell("r1").promoted()
    tell("r2").promoted()
    said: list[str] = []
    for rebuild in (False, False, True):
        read_history(None, "30d", rebuild=rebuild, say=said.append)
    assert said == ["reading 2 journals into the index ..."] * 2


def test_the_page_links_reports_that_lie_beside_it_and_runs(tell: Tell, tmp_path: Path) -> None:
    tell("r1").line(1, "run", id="0a1b").promoted()
    tell("r2", 5).promoted()
    (tmp_path / "report-r1.html").touch()
    write_page(read_history(None, "30d"), tmp_path / "history.html")
    page = (tmp_path / "history.html").read_text()
    assert 'href="report-r1.html"' in page
    assert "report-r2.html" not in page
    assert f"http://127.0.0.1:{settings().prefect_port}/v2/runs/flow-run/0a1b" in page


@pytest.mark.parametrize(
    ("service", "since", "message"),
    [
        ("nobody", "30d", "service: found 'nobody', expected a service with releases: shop"),
        (None, "30", "since: found '30', expected a number with a unit, for example '30d'"),
        (None, "0s", "since: found '0s', expected a duration longer than 0s"),
    ],
)
def test_bad_input_is_refused(tell: Tell, service: str | None, since: str, message: str) -> None:
    tell("r1").promoted()
    with pytest.raises(InputError, match=message):
        read_history(service, since)


def test_a_service_is_refused_where_nothing_was_released(home: Path) -> None:
    del home
    with pytest.raises(InputError, match="none was released here yet"):
        read_history("shop", "30d")


def test_a_page_that_cannot_be_written_is_refused(tell: Tell, tmp_path: Path) -> None:
    tell("r1").promoted()
    with pytest.raises(InputError, match="page: found"):
        write_page(read_history(None, "30d"), tmp_path)


@pytest.fixture
def prefect(home: Path) -> Iterator[Prefect]:
    """A server in place of Prefect's."""
    del home
    with small_prefect() as server:
        yield server


def a_run(number: int, service: object, release: str = "", **more: object) -> dict[str, object]:
    """A flow run that was refused, as the server has it."""
    parameters = {"service": service, "version": f"v{number}", "release": release} | more
    state = {"type": "FAILED", "name": "Failed", "message": f"version: found 'v{number}',\n expected another"}
    run = f"{number:08d}-0000-4000-8000-000000000000"
    return {"id": run, "parameters": parameters, "state": state, "end_time": "2026-11-23T11:58:00.5Z"}


def test_runs_without_a_release_are_told_by_prefects_own_record(tell: Tell, prefect: Prefect) -> None:
    tell("r1").failed()
    tell("shop-00000003").failed()
    runs = [
        *(a_run(1, {"service": "shop"}, "r1"), a_run(2, {"service": "shop"}, "r2")),
        *(a_run(3, {"service": "shop"}), a_run(4, {"service": "wing"}), a_run(5, "shop", "back")),
    ]
    prefect.answers["POST /flow_runs/filter"] = [(200, runs)]
    found = ended_runs(None, NOW)
    assert found
    assert [(one.service, one.version) for one in found] == [("shop", "v2"), ("wing", "v4"), ("shop", "v5")]
    assert found[0].ended == NOW - timedelta(seconds=119.5)
    assert [one.service for one in ended_runs("wing", NOW) or ()] == ["wing"]
    ((_, asked), *_) = prefect.asked
    assert asked["flow_runs"]["end_time"] == {"after_": "2026-11-23T12:00:00+00:00"}
    history = read_history(None, "30d")
    told = "no release: 11-23 11:58 shop v2 Failed: version: found 'v2', expected another"
    assert told in printed(history, runs=found)
    assert to_json(history, found, 1)["runs_without_release"] == [found[0].to_json()]


@pytest.mark.parametrize("answer", [(503, {}), (200, "<html>somebody's wiki</html>"), (200, [{"id": "x"}])])
def test_a_server_that_gives_no_answer_is_no_hindrance(prefect: Prefect, answer: tuple[int, object]) -> None:
    prefect.answers["POST /flow_runs/filter"] = [answer]
    assert ended_runs(None, NOW) is None


def test_without_a_server_it_is_said_that_nobody_knows(home: Path) -> None:
    del home
    assert ended_runs(None, NOW) is None
    assert to_json(read_history(None, "30d"), None, 20)["runs_without_release"] is None
