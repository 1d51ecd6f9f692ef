"""Davy's own journals judged again: what of them is used, what is left out, and by whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.domain.analysis import Limit
from tasks.domain.model import Finding, Outcome, Slot, Verdict
from tasks.domain.model import Result as Said
from tasks.domain.settings import settings
from tests.deployments.backtest_files import POINTS, config_file, davy, service_file
from tests.tasks.report.told import Told, frame_of_counts, judged, promoted, taken_back


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A canary config of two metrics that Davy records by itself."""
    return config_file(tmp_path)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A service file that allows 1 % of errors."""
    return service_file(tmp_path, "error_rate", 1)


def test_journals_are_judged_again_by_other_limits(home: Path, service: Path, tmp_path: Path) -> None:
    del home
    told = settings().journals
    taken_back(told)
    promoted_one = promoted(told / "other")
    promoted_one.path.rename(told / "shop" / "r2.jsonl")
    found = davy("backtest", service, "--judge", "limits", "--json")
    assert found.exit_code == 0, found.stderr
    (limits,) = json.loads(found.stdout)["judges"]
    assert limits["results"] == {"r1": "fail", "r2": "pass"}
    assert limits["delay"]["points_median"] == 1
    found = davy("backtest", service_file(tmp_path, "error_rate", 50), "--judge", "limits", "--json")
    assert json.loads(found.stdout)["judges"][0]["false_pass"]["count"] == 1


def test_journals_are_judged_as_metric_pairs_and_beside_the_other_version(
    home: Path, service: Path, config: Path
) -> None:
    del home
    told = Told(settings().journals, "1.3")
    told.live(2, candidate=20, baseline=20, blue=60)
    errors = np.random.default_rng(1).binomial(100, 0.2, 40)
    frame = frame_of_counts(
        {"candidate": [(100, int(n)) for n in errors], "baseline": [(100, 1)] * 40}, after=3
    )
    verdict = judged(frame)
    told.verdict(43, verdict)
    told.back(43, verdict.reason, by="flow")
    found = davy("backtest", service, config, "--json")
    judges = {one["judge"]: one for one in json.loads(found.stdout)["judges"]}
    assert {name: one["results"] for name, one in judges.items()} == {
        name: {"r1": "fail"} for name in ("davy", "kayenta", "limits", "compare")
    }
    assert judges["compare"]["delay"]["points_median"] < 10


def test_the_pairs_of_a_canary_config_are_judged_again_with_their_own_step(home: Path, config: Path) -> None:
    del home
    told = Told(settings().journals)
    told.live(2, candidate=20, blue=80)
    recorded = {
        "name": "latency_p99",
        "tags": {},
        "start": told.record.opened_at.isoformat(),
        "step": 60.0,
        "control": [100.0 + n % 5 for n in range(POINTS)],
        "experiment": [200.0 + n % 7 for n in range(POINTS)],
    }
    finding = Finding("canary score", "candidate", Said.FAIL, 0.0, "score 0")
    told.verdict(2400, Verdict(Said.FAIL, (finding,), {"pairs": [recorded]}), "judge-candidate-20%-after-40m")
    told.back(2401, finding.reason, by="flow")
    (davys,) = json.loads(davy("backtest", config, "--judge", "davy", "--json").stdout)["judges"]
    assert davys["results"] == {"r1": "fail"}
    assert davys["delay"]["seconds_median"] == 60 * davys["delay"]["points_median"]


def test_of_a_bake_that_was_extended_all_of_it_is_judged_again(home: Path, service: Path) -> None:
    del home
    told = Told(settings().journals)
    told.live(2, candidate=20, blue=80)
    samples = [(40, 0)] * 6 + [(40, 40)] * 2
    for rows in (4, 8):
        verdict = judged(frame_of_counts({"candidate": samples[:rows]}, after=3))
        told.verdict(3 + rows, verdict, f"analyse-candidate-20%-{rows // 4}")
    told.back(11, verdict.reason, by="flow")
    (limits,) = json.loads(davy("backtest", service, "--judge", "limits", "--json").stdout)["judges"]
    assert (limits["results"], limits["delay"]["points_median"]) == ({"r1": "fail"}, 7)


def test_a_death_is_known_at_the_end_of_its_share_only(home: Path, tmp_path: Path) -> None:
    del home
    told = Told(settings().journals)
    told.live(2, candidate=20, blue=80)
    verdict = judged(frame_of_counts({"candidate": [(40, 0)] * 5}, after=3), deaths=1, restarts=Limit(max=0))
    told.check(8, verdict)
    told.back(8, verdict.reason)
    path = service_file(tmp_path, "restarts", 0)
    (limits,) = json.loads(davy("backtest", path, "--judge", "limits", "--json").stdout)["judges"]
    assert limits["delay"]["points_median"] == 5


def test_only_releases_that_a_judge_has_ended_say_what_the_version_was(
    home: Path, service: Path, tmp_path: Path
) -> None:
    del home
    told = taken_back(settings().journals)
    aborted = Told(settings().journals, release="aborted")
    aborted.live(2, candidate=20, blue=80)
    aborted.check(5, judged(frame_of_counts({"candidate": [(40, 2)] * 3}, after=3)))
    aborted.line(6, "abort", by="Ada")
    aborted.back(7, "aborted by Ada", by="watcher", outcome=Outcome.ABORTED)
    sick = Told(settings().journals, release="sick")
    sick.back(5, "shop/candidate@1.2: 0 of 1 replicas healthy", by="flow")
    Told(settings().journals, release="running").live(2, candidate=20, blue=80)
    result = json.loads(davy("backtest", service, "--judge", "limits", "--json").stdout)
    assert result["judges"][0]["results"] == {told.record.release: "fail"}
    why = {one["release"]: one["why"] for one in result["left_out"]}
    assert set(why) == {"aborted", "sick", "running"}
    assert why["running"] == "has not ended"
    (tmp_path / "labels.json").write_text(json.dumps({"aborted": "bad"}))
    found = davy("backtest", service, "--judge", "limits", "--json", "--labels", tmp_path / "labels.json")
    assert json.loads(found.stdout)["judges"][0]["results"]["aborted"] == "fail"


def test_a_candidate_that_was_alone_is_not_compared_with_nothing(
    home: Path, service: Path, config: Path
) -> None:
    del home
    told = Told(settings().journals, "1.2")
    told.live(2, green=100)
    told.verdict(
        8, judged(frame_of_counts({"green": [(40, 0)] * 5}, after=3), Slot.GREEN), "analyse-green-100%-1"
    )
    told.line(9, "ended", outcome=Outcome.PROMOTED, message="")
    result = json.loads(davy("backtest", config, service, "--json").stdout)
    assert {one["judge"]: one["not_asked"] for one in result["judges"]} == {
        "davy": ["r1"],
        "kayenta": ["r1"],
        "compare": ["r1"],
        "limits": [],
    }


def test_without_any_release_that_is_said(home: Path, config: Path) -> None:
    del home
    found = davy("backtest", config)
    assert found.exit_code == 2
    assert "expected at least one release with a known outcome" in found.stderr
