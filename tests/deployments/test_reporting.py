"""`davy report`: which release it finds, what it writes and prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from deployments.reporting import find
from deployments.watcher import Watched
from tasks.domain.model import Slot, Split, Traffic
from tasks.domain.settings import settings
from tasks.opening import open_release
from tasks.report.page import page_of
from tasks.report.series import Role
from tasks.report.story import story_of
from tests.rig.fakes import make_service, make_world
from tests.tasks.report.told import Told, taken_back


def davy(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """A release that was taken back, in Davy's own journals; files are written beside them."""
    del home
    monkeypatch.chdir(tmp_path)
    return taken_back(settings().journals)


def test_a_release_is_written_to_a_file_of_its_own_name(told: Told) -> None:
    found = davy("report", "r1")
    assert found.exit_code == 0
    first, second = found.stdout.splitlines()
    assert first.startswith("shop 1.2-errors was taken back after 5.0 s")
    assert second == "report-r1.html"
    assert "<!doctype html>" in Path(second).read_text()
    assert told.record.release in Path(second).read_text()


def test_a_service_stands_for_the_release_that_was_opened_last(told: Told) -> None:
    folder = told.path.parents[1]
    Told(folder, "1.3", release="a", opened=3600)
    Told(folder, "1.1", release="b", opened=-3600)
    assert json.loads(davy("report", "shop", "--json").stdout)["version"] == "1.3"


def test_what_a_real_guard_wrote_is_understood(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    world = make_world(monkeypatch)
    world.have_stable(3)
    world.errors["v2"] = 0.5
    carrier = open_release("r1", "canary", make_service("canary", analysis={"interval": "1ms"}), "v2")
    carrier.fleet.deploy(carrier.release.candidate, 2, carrier.lease)
    carrier.publish(carrier.release.candidate)
    carrier.send(Traffic(Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})))
    Watched(carrier.journal).look_once()
    story = story_of(find("r1"))
    assert (
        "at 50 %: 50 % of its requests failed, at most 1 % allowed; all traffic is on v1 again"
        in story.headline
    )
    first = story.metrics[0]
    assert (first.name, first.decided) == ("error_rate", True)
    assert set(first.curves) == {Role.NEW, Role.OLD}
    assert first.compared[0].is_worse
    assert first.compared[0].candidate.value == 50
    assert "Side by side" in page_of(story)


def test_json_is_the_summary_alone(told: Told, tmp_path: Path) -> None:
    del told
    found = davy("report", "shop", "--output", tmp_path / "x.html", "--json")
    summary = json.loads(found.stdout)
    assert summary["file"] == str(tmp_path / "x.html")
    assert (summary["outcome"], summary["failed"]) == ("RolledBack", ["error_rate"])
    assert (tmp_path / "x.html").exists()


@pytest.mark.parametrize("name", ["nobody", "../shop/r1", "", "r1.jsonl"])
def test_there_must_be_such_a_release(told: Told, name: str) -> None:
    del told
    found = davy("report", name)
    assert found.exit_code == 2
    assert f"release: found '{name}', expected a release's id or a service's name: shop" in found.stderr


def test_without_any_release_that_is_said(home: Path) -> None:
    del home
    found = davy("report", "shop")
    assert found.exit_code == 2
    assert "none was released here yet" in found.stderr


def test_a_file_that_cannot_be_written_is_refused(told: Told, tmp_path: Path) -> None:
    del told
    found = davy("report", "r1", "-o", tmp_path)
    assert found.exit_code == 2
    assert "output: found" in found.stderr


def test_a_journal_that_was_changed_is_not_reported_on(told: Told) -> None:
    told.path.write_bytes(told.path.read_bytes().replace(b"1.2-errors", b"1.2-fine!!"))
    found = davy("report", "r1")
    assert found.exit_code == 1
    assert not Path("report-r1.html").exists()
