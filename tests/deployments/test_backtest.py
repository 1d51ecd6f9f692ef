"""`davy backtest`: recorded releases with known outcomes, judged again; what is counted and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.deployments.backtest_files import POINTS, config_file, davy, pairs


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A canary config of two metrics that Davy records by itself."""
    return config_file(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good releases, two bad ones from the start, two bad ones from the 20th point on."""
    made = tmp_path / "recorded"
    for known in ("good", "bad"):
        (made / known).mkdir(parents=True)
    for seed in range(3):
        (made / "good" / f"g{seed}.json").write_text(json.dumps(pairs(seed)))
    for seed in range(2):
        (made / "bad" / f"b{seed}.json").write_text(json.dumps(pairs(seed, worse_from=0)))
        late = {"outcome": "bad", "pairs": pairs(seed, worse_from=20), "began": 20, "step": 30}
        (made / f"late{seed}.json").write_text(json.dumps(late))
    return made


def test_rates_of_releases_whose_outcome_is_known(config: Path, folder: Path) -> None:
    found = davy("backtest", config, "--releases", folder, "--json")
    assert found.exit_code == 0, found.stderr
    judges = {one["judge"]: one for one in json.loads(found.stdout)["judges"]}
    assert set(judges) == {"davy", "kayenta"}
    davys = judges["davy"]
    assert davys["releases"] == 7
    assert (davys["false_pass"]["count"], davys["false_pass"]["of"]) == (0, 4)
    assert (davys["false_fail"]["count"], davys["false_fail"]["of"]) == (0, 3)
    assert davys["results"]["late0"] == davys["results"]["bad/b0"] == "fail"
    assert davys["delay"]["found"] == 4
    assert 0 < davys["delay"]["points_median"] <= 20


def test_the_table_and_the_plot_for_people(config: Path, folder: Path, tmp_path: Path) -> None:
    found = davy("backtest", config, "--releases", folder, "--judge", "davy", "--plot", tmp_path / "x.svg")
    assert found.exit_code == 0
    assert re.search(
        r"davy +7 +0.0 % \(0 of 4\) +0.0 % \(0 of 3\) +0.0 % \(0 of 7\) +0.0 % \(0 of 3\)", found.stdout
    )
    svg = (tmp_path / "x.svg").read_text()
    assert ET.fromstring(svg).tag.endswith("svg")
    assert "false pass" in svg
    assert "davy" in svg
    assert "#010203" not in svg


def test_labels_override_what_was_recorded(config: Path, folder: Path, tmp_path: Path) -> None:
    for name, content in (
        ("x.json", json.dumps({"bad/b0": "good", "lost": "bad"})),
        ("x.csv", "release,outcome\nbad/b0,good\nlost,bad\n"),
    ):
        (tmp_path / name).write_text(content)
        found = davy(
            "backtest", config, "--releases", folder, "--judge", "davy", "--labels", tmp_path / name, "--json"
        )
        result = json.loads(found.stdout)
        assert result["judges"][0]["false_fail"]["count"] == 1
        assert result["judges"][0]["false_fail"]["of"] == 4
        assert [one["release"] for one in result["left_out"]] == ["lost"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"outcome": "fine", "pairs": pairs(0)}, "outcome: found 'fine', expected good or bad"),
        ({"outcome": "bad"}, "pairs: found 'nothing', expected a list of pairs"),
        ({"outcome": "bad", "pairs": []}, "pairs: found [], expected at least one of the metrics error_rate"),
        ({"outcome": "bad", "pairs": pairs(0), "began": POINTS}, "began: found 40, expected"),
        ({"outcome": "bad", "pairs": pairs(0), "began": True}, "began: found True, expected"),
        ({"outcome": "bad", "pairs": pairs(0), "step": 0}, "step: found 0, expected seconds"),
        (
            {"outcome": "bad", "pairs": pairs(0), "stp": 1},
            "content: found ['outcome', 'pairs', 'stp'], expected",
        ),
        ([], "content: found 'list', expected an object with the keys outcome, pairs"),
        (
            {"outcome": "bad", "pairs": [{"name": "x", "values": {"control": ["a"], "experiment": []}}]},
            "pairs.0.values.control.0: found 'a', expected a number",
        ),
    ],
)
def test_a_file_of_pairs_that_is_wrong_is_refused_with_its_field(
    config: Path, tmp_path: Path, content: object, told: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.json").write_text(json.dumps(content))
    found = davy("backtest", config, "--releases", tmp_path / "in")
    assert found.exit_code == 2
    assert f"{tmp_path}/in/x.json: {told}" in found.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--judge", "foo"], "judge: found 'foo', expected one that CONFIG configures (davy, kayenta)"),
        (["--judge", "limits"], "limits and compare a service file"),
        (["--releases", "/nowhere"], "releases: found '/nowhere', expected a folder"),
        (["--pass", "200"], "--pass: found 200.0, expected a score from 0 to 100"),
        (["--pass", "20"], "at least --marginal, 75"),
        (["--labels", "/nowhere.csv"], "labels: found '/nowhere.csv'"),
        (["--plot", "/nowhere/x.svg"], "--plot: found '/nowhere/x.svg'"),
    ],
)
def test_options_that_are_wrong_are_refused(config: Path, folder: Path, words: list[str], told: str) -> None:
    given = [] if "--releases" in words else ["--releases", folder]
    found = davy("backtest", config, *given, *words)
    assert found.exit_code == 2
    assert told in found.stderr
    assert not found.stdout


@pytest.mark.parametrize("content", ["release;outcome\nx;bad\n", "release,outcome\nx,worse\n"])
def test_labels_that_are_wrong_are_refused(config: Path, folder: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    found = davy("backtest", config, "--releases", folder, "--labels", tmp_path / "x.csv")
    assert found.exit_code == 2
    assert "labels" in found.stderr
