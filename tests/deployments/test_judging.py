"""`davy judge`: a canary config and metric pairs in, a verdict, an exit code and Kayenta's own shape out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from deployments.judging import read_pairs
from tests.rig.vectors import SHARED

Write = Callable[[str, object], Path]
STEADY = [round(10 + number * 0.37 % 3, 2) for number in range(60)]
SLOWER = [value + 5 for value in STEADY]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Put something into a JSON file."""

    def put(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return put


def metric(name: str, group: str, **canary: object) -> dict[str, Any]:
    query = {"type": "prometheus", "metricName": name}
    return {
        "name": name,
        "query": query,
        "groups": [group],
        "analysisConfigurations": {"canary": {"direction": "increase", **canary}},
        "scopeName": "default",
    }


def config(*metrics: dict[str, Any], weights: dict[str, float] | None = None) -> dict[str, Any]:
    return {
        "name": "shop",
        "judge": {"name": "NetflixACAJudge-v1.0"},
        "metrics": list(metrics or (metric("latency", "time"), metric("errors", "faults"))),
        "classifier": {"groupWeights": {"time": 20, "faults": 80} if weights is None else weights},
    }


def pair(name: str, control: object, experiment: object, **more: object) -> dict[str, Any]:
    return {"name": name, "tags": {}, "values": {"control": control, "experiment": experiment}, **more}


GOOD = [pair("latency", STEADY, STEADY[::-1]), pair("errors", STEADY, STEADY[::-1])]
SLOW = [pair("latency", STEADY, SLOWER), pair("errors", STEADY, STEADY[::-1])]
FAULTY = [pair("latency", STEADY, STEADY[::-1]), pair("errors", STEADY, SLOWER)]
SHORT = [pair("latency", STEADY[:3], STEADY[1:3]), pair("errors", STEADY[:3], STEADY[1:3])]


def davy(*words: object) -> Result:
    return CliRunner().invoke(app, ["judge", *map(str, words)])


def judged(found: Result) -> dict[str, Any]:
    """The JSON of a verdict, which holds neither NaN nor anything but JSON."""

    def never(name: str) -> float:
        raise AssertionError(name)

    content: dict[str, Any] = json.loads(found.stdout, parse_constant=never)
    return content


@pytest.mark.parametrize("judge", ["kayenta", "davy"])
@pytest.mark.parametrize(
    ("pairs", "code", "label"), [(GOOD, 0, "Pass"), (SLOW, 5, "Marginal"), (FAULTY, 3, "Fail")]
)
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_exit_code_is_the_verdict(
    write: Write, judge: str, pairs: object, *, code: int, label: str, words: tuple[str, ...]
) -> None:
    files = write("config.json", config()), "--pairs", write("pairs.json", pairs)
    found = davy(*files, "--judge", judge, *words)
    assert found.exit_code == code
    assert label in found.stdout
    if words:
        assert judged(found)["judgeResult"]["score"]["classification"] == label


def test_too_few_points_are_inconclusive_by_default_and_a_pass_to_kayenta(write: Write) -> None:
    files = write("config.json", config()), "--pairs", write("pairs.json", SHORT)
    found = davy(*files, "--json")
    assert found.exit_code == 6
    assert judged(found)["judge"] == "davy"
    assert "points" in judged(found)["judgeResult"]["results"][0]["resultMetadata"]["needed"]
    assert davy(*files, "--judge", "kayenta").exit_code == 0


def test_the_json_has_kayentas_shape(write: Write) -> None:
    one = pair("latency", [*STEADY, None], SLOWER, tags={"host": "a"}, attributes={"query": "q"})
    zero = pair("errors", [0.0] * 60, SLOWER)
    content = config(metric("latency", "time", critical=True), metric("errors", "faults"))
    files = write("config.json", content), "--pairs", write("pairs.json", [one, zero])
    found = judged(davy(*files, "--judge", "kayenta", "--json", "--seed", 7))
    assert (found["judge"], found["seed"], found["warnings"]) == ("kayenta", 7, [])
    result = found["judgeResult"]
    assert result["judgeName"] == "NetflixACAJudge-v1.0"
    assert result["score"] == {
        "score": 0.0,
        "classification": "Fail",
        "classificationReason": "Canary Failed: The metric latency was classified as High (Critical)",
    }
    assert [group["name"] for group in result["groupScores"]] == ["time", "faults"]
    assert result["groupScores"][0].keys() == {"name", "score", "classification", "classificationReason"}
    latency, errors = result["results"]
    assert latency["tags"] == {"host": "a"}
    assert (latency["classification"], latency["critical"], latency["muted"]) == ("High", True, False)
    assert latency["controlMetadata"]["stats"]["count"] == 60
    assert latency["experimentMetadata"]["stats"].keys() == {"min", "max", "mean", "std", "count"}
    assert latency["resultMetadata"]["ratio"] == pytest.approx(np.mean(SLOWER) / np.mean(STEADY))
    assert errors["resultMetadata"]["ratio"] is None
    assert errors["classification"] == "High"


def test_the_seed_repeats_what_chance_decided(write: Write) -> None:
    content = config(metric("latency", "time"), weights={})
    files = write("config.json", content), "--pairs", write("pairs.json", [pair("latency", [1], [10])])
    words = (*files, "--judge", "kayenta", "--json", "--seed")
    assert davy(*words, 3).stdout == davy(*words, 3).stdout
    labels = {judged(davy(*words, seed))["judgeResult"]["results"][0]["classification"] for seed in range(60)}
    assert labels == {"High", "Error"}


def test_what_kayenta_overlooks_is_a_warning_to_it_and_refused_by_default(write: Write) -> None:
    content = config(metric("latency", "time", direction="up"), metric("errors", "faults"))
    files = write("config.json", content), "--pairs", write("pairs.json", GOOD)
    said = "metrics.0.analysisConfigurations.canary.direction: found 'up', expected one of increase"
    refused = davy(*files)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert said in refused.stderr
    loose = davy(*files, "--judge", "kayenta", "--json")
    assert loose.exit_code == 0
    assert judged(loose)["warnings"][0].startswith(said)
    assert "expected one of" in davy(*files, "--judge", "kayenta").stdout


def test_the_table_says_why(write: Write) -> None:
    files = write("config.json", config()), "--pairs", write("pairs.json", SLOW)
    shown = davy(*files, "--judge", "kayenta").stdout
    assert (
        shown.splitlines()[0] == "Marginal, by the kayenta judge: score 80, 95 needed to pass: latency High"
    )
    for part in ("score 80 of 100", "time", "faults", "0 of 1 passed", "latency was", "(60)"):
        assert part in shown


WRONG: list[tuple[object, str]] = [
    ("hello", "--pairs: found '"),
    ({"a": 1}, "pairs: found 'an object', expected a list of pairs"),
    ([5], "pairs.0: found 'a number', expected an object"),
    ([pair("disk", [1], [2])], ": found 'disk', expected one of"),
    ([pair("errors", [1, "2"], [2])], "pairs.0.values.control.1: found '2', expected a number, or null"),
    ([pair("errors", [1], [True])], "pairs.0.values.experiment.0: found True, expected a number"),
    ([pair("errors", [[1]], [2])], "pairs.0.values.control.0: found [1], expected a number"),
    ([pair("errors", 1, [2])], "pairs.0.values.control: found 'a number', expected a list of numbers"),
    ([pair("errors", [1], None)], "pairs.0.values.experiment: found 'nothing', expected a list of numbers"),
    ([pair("errors", [10**400], [2])], "pairs.0.values.control: found 'an integer of more than 308 digits'"),
    ([pair("errors", [1], [2], tags=["a"])], "pairs.0.tags: found 'a list', expected an object"),
    ([{"values": {"control": [1], "experiment": [1]}}], "pairs.0.name: found None, expected a metric's name"),
    ([{"name": "errors", "values": [1]}], "pairs.0.values: found 'a list', expected an object"),
]


@pytest.mark.parametrize("judge", ["kayenta", "davy"])
@pytest.mark.parametrize(("content", "said"), WRONG, ids=[said[:50] for _, said in WRONG])
def test_wrong_pairs_are_refused(write: Write, judge: str, content: object, said: str) -> None:
    files = write("config.json", config()), "--pairs", write("pairs.json", content)
    found = davy(*files, "--judge", judge, "--json")
    assert (found.exit_code, found.stdout) == (2, "")
    assert said in found.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pass", "101"), "--pass: found 101.0, expected a score from 0 to 100"),
        (("--pass", "nan"), "--pass: found nan, expected a score from 0 to 100"),
        (("--marginal", "-1"), "--marginal: found -1.0, expected a score from 0 to 100"),
        (("--marginal", "96"), "--marginal: found 96.0, expected at most --pass, 95"),
        (("--judge", "dredd"), "--judge: found 'dredd', expected one of davy, kayenta"),
        (("--pairs", "none.json"), "--pairs: found 'none.json', expected a file that can be read"),
    ],
)
def test_wrong_options_are_refused(write: Write, words: tuple[str, ...], said: str) -> None:
    found = davy(write("config.json", config()), "--pairs", write("pairs.json", GOOD), *words)
    assert (found.exit_code, found.stdout) == (2, "")
    assert said in found.stderr


def test_thresholds_decide(write: Write) -> None:
    files = write("config.json", config()), "--pairs", write("pairs.json", SLOW)
    assert davy(*files, "--pass", "80").exit_code == 0
    assert davy(*files, "--pass", "90", "--marginal", "81").exit_code == 3


def test_nothing_is_said_when_nobody_listens_any_more(write: Write) -> None:
    pairs = [pair("latency", STEADY, SLOWER, tags={"host": str(number)}) for number in range(400)]
    files = write("config.json", config()), "--pairs", write("pairs.json", pairs)
    command = [sys.executable, "-m", "deployments.cli", "judge", *map(str, files), "--judge", "kayenta"]
    for words in ([], ["--json"]):
        with subprocess.Popen(
            [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            assert process.stderr
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""


def test_kayentas_archived_pairs_are_read() -> None:
    written = [
        pair("cpu", [1, "NaN", None], ["Infinity", "-Infinity", 2.5], startTimeMillis=0, stepMillis=60000)
    ]
    (found,) = read_pairs(written)
    assert np.array_equal(found.control, [1, np.nan, np.nan], equal_nan=True)
    assert found.experiment.tolist() == [np.inf, -np.inf, 2.5]


@pytest.mark.skipif(not SHARED.is_dir(), reason="kayenta configs not found; set SHARED")
def test_the_sample_of_kayentas_archive_is_read() -> None:
    (found,) = read_pairs(json.loads((SHARED / "configs" / "data_archival_format.json").read_text()))
    assert (found.name, found.tags) == ("cpu", {"tagName": "tagValue"})
    assert found.control.tolist() == [1, 2, 3, 4, 5]
