"""What a folder of service files says of its nights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.nightly import load_night, services_in, to_nightly
from tasks.domain.errors import FaultsError, InputError
from tasks.domain.nightly import Night
from tasks.domain.spec import service_adapter
from tasks.domain.versions import FileVersions
from tests.rig.engine import migrated_database

NIGHT = """
max_at_once: 3
timezone: Europe/Berlin
freeze:
  - when: fri 16:00..mon 06:00
    reason: nobody is there
holidays: {country: DE, subdivision: BE, dates: [2026-12-24]}
waves: [[shop], [cart, mail]]
"""


def test_a_night_is_read_from_its_file_and_without_one_has_the_defaults(tmp_path: Path) -> None:
    assert load_night(tmp_path) == Night()
    (tmp_path / "night.yaml").write_text(NIGHT)
    night = load_night(tmp_path)
    assert (night.max_at_once, night.stop_after_failures) == (3, 3)
    assert night.waves == (("shop",), ("cart", "mail"))
    assert Night.model_validate(night.model_dump(mode="json")) == night
    (tmp_path / "night.yaml").write_text("")
    assert load_night(tmp_path) == Night()


def test_a_night_that_is_wrong_is_refused_with_every_field(tmp_path: Path) -> None:
    wrong = NIGHT.replace("max_at_once: 3", "max_at_once: 0\nmax_at_one: 3").replace("DE", "XX")
    (tmp_path / "night.yaml").write_text(wrong.replace("mon 06:00", "mon"))
    with pytest.raises(FaultsError) as caught:
        load_night(tmp_path)
    said = str(caught.value)
    assert "night.yaml has 4 fault(s):" in said
    assert "max_at_once: found 0, expected greater than or equal to 1" in said
    assert "max_at_one: found 3, expected one of the keys freeze, holidays, max_at_once" in said
    assert "freeze.0.when: found 'fri 16:00..mon', expected 'fri 16:00..mon 06:00' or" in said
    assert "holidays.country: found " in said


@pytest.mark.parametrize("content", ["[", "- a\n- b\n", "just text"])
def test_a_night_that_is_no_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "night.yaml").write_text(content)
    with pytest.raises(InputError, match=r"night\.yaml"):
        load_night(tmp_path)


def test_a_version_file_counts_from_the_service_file_s_folder(tmp_path: Path) -> None:
    content = {
        "service": "shop",
        "strategy": "canary",
        "fleet": {"command": "serve"},
        "router": {"port": 8080},
    }
    file = service_adapter.validate_python(content)
    made = to_nightly(file, FileVersions(path="shop/VERSION"), None, tmp_path)
    assert made.versions == FileVersions(path=str(tmp_path / "shop" / "VERSION"))


SERVICE = """
service: {name}
strategy: canary
fleet: {{command: serve}}
router: {{port: 8080}}
"""


def test_services_whose_files_say_where_versions_are_found_are_taken(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SERVICE.format(name="shop") + "versions: {kind: file, path: newest}")
    (tmp_path / "cart.yml").write_text(SERVICE.format(name="cart"))
    (tmp_path / "night.yaml").write_text(NIGHT)
    (one,) = services_in(tmp_path)
    assert one.name == "shop"
    assert one.versions == FileVersions(path=str(tmp_path / "newest"))


@pytest.mark.parametrize("more", ["", "versions: {kind: ftp}", "versions: {kind: file}"])
def test_a_folder_without_any_is_refused_before_anything_is_started(tmp_path: Path, more: str) -> None:
    (tmp_path / "shop.yaml").write_text(SERVICE.format(name="shop") + more)
    with pytest.raises(InputError, match="versions"):
        services_in(tmp_path)
    with pytest.raises(InputError, match="folder"):
        services_in(tmp_path / "nowhere")


def test_prefect_s_scheduler_plans_one_start_a_day_where_clocks_change(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = {
        "2026-10-24T10:00:00+00:00": "25 00:30, 26 01:30, 27 01:30, 28 01:30",
        "2027-03-27T10:00:00+00:00": "28 01:30, 29 00:30, 30 00:30, 31 00:30",
    }
    database = shutil.copy(migrated_database(tmp_path_factory), tmp_path)
    program = Path(__file__).parents[1] / "rig" / "planned_runs.py"
    command = [sys.executable, program, database, "30 2 * * *", "Europe/Berlin", *expected]
    answer = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert answer.stdout.splitlines() == [*expected.values()], answer.stderr[-2000:]
