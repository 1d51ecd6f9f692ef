"""A canary config within a release: the score decides, and its evidence can be judged again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tasks.domain.analysis import CanaryJudge
from tasks.domain.model import Result, Slot, Verdict, Window
from tasks.domain.pairs import Series
from tasks.judge.canary import judge_canary, judge_canary_again

CONFIG = json.loads((Path(__file__).parents[3] / "deployments" / "examples" / "shop.canary.json").read_text())
END = datetime(2026, 3, 1, 12, tzinfo=UTC)


def series(*, errors: float = 0, latency: float = 20, points: int = 30) -> list[Series]:
    draw = np.random.default_rng(3)
    return [
        Series("errors", {}, draw.poisson(errors, points).astype(float)),
        Series("latency, mean", {}, draw.normal(latency, 1, points)),
        Series("latency, 99th percentile", {}, draw.normal(3 * latency, 4, points)),
    ]


def judge(experiment: list[Series], judge: str = "davy", points: int = 30) -> Verdict:
    terms = CanaryJudge(config=CONFIG, judge=judge, step=timedelta(seconds=1))  # type: ignore[arg-type]
    window = Window(END - timedelta(seconds=points), END)
    return judge_canary(terms, series(points=points), experiment, slot=Slot.CANDIDATE, window=window, seed=7)


@pytest.mark.parametrize("name", ["davy", "kayenta"])
def test_the_score_decides(name: str) -> None:
    good, bad = judge(series(), name), judge(series(errors=5), name)
    assert (good.result, good.findings[0].value) == (Result.PASS, 100)
    assert (bad.result, bad.findings[0].value) == (Result.FAIL, 0)
    assert bad.reason.startswith("canary config shop: ")
    assert "errors" in bad.reason


def test_a_score_between_the_thresholds_is_marginal_although_metrics_failed() -> None:
    terms = CanaryJudge(config=CONFIG, judge="kayenta", step=timedelta(seconds=1), marginal_score=50)
    slow = judge_canary(
        terms,
        series(),
        series(latency=60),
        slot=Slot.CANDIDATE,
        window=Window(END - timedelta(seconds=30), END),
        seed=7,
    )
    assert (slow.result, slow.findings[0].value) == (Result.MARGINAL, 60)


def test_without_any_series_the_davy_judge_does_not_pass() -> None:
    assert judge([]).result in (Result.INCONCLUSIVE, Result.FAIL)


@pytest.mark.parametrize("name", ["davy", "kayenta"])
def test_judging_the_evidence_again_gives_the_same_verdict(name: str) -> None:
    constants = [Series(one.name, {}, np.full(30, 5.0 + place)) for place, one in enumerate(series())]
    for experiment in (series(errors=5), constants):
        verdict = judge(experiment, name)
        evidence = json.loads(json.dumps(verdict.evidence))
        again = judge_canary_again(evidence)
        assert (again.result, again.findings) == (verdict.result, verdict.findings)
        assert json.loads(json.dumps(again.evidence)) == evidence
