"""What a report says happened: one sentence for anybody, and which metric it was."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tasks.domain.analysis import Comparison, Limit
from tasks.domain.model import Finding, Outcome, Result, Slot, Verdict
from tasks.judge.canary import plain
from tasks.judge.comparisons import Comparing
from tasks.judge.judgement import Classification, GroupScore, Judgement, MetricResult, Score
from tasks.judge.standings import Terms
from tasks.report.story import Story, story_of
from tests.rig.fakes import make_service
from tests.tasks.report.told import BEGAN, Told, frame_of_counts, judged, promoted, taken_back


def headline(told: Told) -> str:
    return story_of(told.record).headline


def test_a_release_that_the_guard_took_back(tmp_path: Path) -> None:
    assert headline(taken_back(tmp_path)) == (
        "shop 1.2-errors was taken back after 5.0 s at 20 %: 5 % of its requests failed, at most 1 % allowed; "
        "all traffic is on 1.1 again since 14:03:07 UTC."
    )


def test_a_release_that_was_promoted(tmp_path: Path) -> None:
    assert headline(promoted(tmp_path)) == (
        "shop 1.2 has all traffic since 14:03:22 UTC; it was judged at 20 % and 50 % and nothing spoke against it."
    )


def test_a_first_version_was_compared_with_nothing(tmp_path: Path) -> None:
    told = Told(tmp_path, "1.0", stable=None)
    told.live(3, blue=100)
    told.line(4, "ended", outcome=Outcome.PROMOTED, message="")
    assert headline(told).endswith("it is the first version, so there was nothing to compare it with.")


@pytest.mark.parametrize(
    ("metric", "limit", "took", "said"),
    [
        ("latency_p99", Limit(max=100), 500.0, "one in a hundred of its requests took more than 498 ms"),
        ("latency_p50", Limit(max=100), 500.0, "half of its requests took more than 375 ms"),
        (
            "request_rate",
            Limit(min=60),
            10.0,
            "it answered 40 requests a second, at least 60 requests a second",
        ),
    ],
)
def test_each_metric_is_told_in_plain_words(
    tmp_path: Path, metric: str, limit: Limit, took: float, said: str
) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    frame = frame_of_counts({"candidate": [(40, 0)] * 5}, after=3, latency={"candidate": took})
    verdict = judged(frame, **{metric: limit})
    told.verdict(8, verdict)
    told.back(8, f"shop/candidate@1.2-errors: verdict fail, expected pass: {verdict.reason}", by="flow")
    assert said in headline(told)


@pytest.mark.parametrize(
    ("restarts", "said"),
    [
        (1, "one of its processes died, none is allowed to"),
        (3, "its processes died 3 times, none is allowed to"),
    ],
)
def test_deaths_are_told_as_deaths(tmp_path: Path, restarts: int, said: str) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    verdict = judged(frame_of_counts({"candidate": [(40, 0)]}), deaths=restarts, restarts=Limit(max=0))
    told.check(5, verdict)
    told.back(5, verdict.reason)
    assert said in headline(told)


def test_several_metrics_are_told_in_the_order_of_the_findings(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    frame = frame_of_counts({"candidate": [(40, 2)] * 5}, after=3, latency={"candidate": 500.0})
    verdict = judged(frame, error_rate=Limit(max=1), latency_p50=Limit(max=100))
    told.check(8, verdict)
    told.back(8, verdict.reason)
    assert "5 % of its requests failed, at most 1 % allowed; half of its requests took" in headline(told)


def test_a_version_worse_than_the_one_beside_it_is_told_with_both_values(tmp_path: Path) -> None:
    told = Told(tmp_path, "1.3")
    told.live(2, candidate=20, baseline=20, blue=60)
    frame = frame_of_counts({"candidate": [(100, 4)] * 20, "baseline": [(100, 1)] * 20}, after=3)
    terms = Terms({"error_rate": Comparison(tolerance=20, floor=0.5)}, Slot.CANDIDATE, Slot.BASELINE, 4.6)
    comparing = Comparing(terms)
    comparing.feed(frame)
    limits, beside = judged(frame, error_rate=Limit(max=10)), comparing.verdict()
    assert beside.result is Result.FAIL
    findings = (*limits.findings, *beside.findings)
    told.check(23, Verdict(Result.FAIL, findings, {**limits.evidence, **beside.evidence}))
    told.back(23, beside.reason)
    story = story_of(told.record)
    assert (
        "4 % of its requests failed, against 1 % of the old version beside it at the same time, at most 1.2 % allowed"
        in story.headline
    )
    first = story.metrics[0]
    assert (first.name, first.decided, first.result) == ("error_rate", True, Result.FAIL)
    assert first.compared[0].is_worse


def test_a_canary_config_that_failed_is_told_with_its_score_and_the_metrics_to_blame(tmp_path: Path) -> None:
    told = Told(tmp_path, "1.4")
    told.live(2, candidate=20, blue=80)
    results = (MetricResult("cpu", "1", Classification.HIGH), MetricResult("disk", "2", Classification.PASS))
    judgement = Judgement("davy", 50.0, Score.FAIL, "", (GroupScore("all", 50.0),), results)
    limits = judged(frame_of_counts({"candidate": [(40, 0)] * 5}))
    finding = Finding("canary score", "candidate", Result.FAIL, 50.0, "canary config x: score 50")
    evidence = {
        **limits.evidence,
        "judgement": plain(asdict(judgement)),
        "canary": {"config": {}, "pass_score": 95},
    }
    verdict = Verdict(Result.FAIL, (*limits.findings, finding), evidence)
    told.verdict(8, verdict)
    told.back(8, f"verdict fail, expected pass: {verdict.reason}", by="flow")
    assert (
        "its metrics scored 50 of 100 beside the old version's, at least 95 needed (cpu is too high)"
        in headline(told)
    )


def test_a_step_that_a_marginal_score_has_ended_early_names_the_score(tmp_path: Path) -> None:
    told = Told(tmp_path, "1.4")
    told.live(2, candidate=20, blue=80)
    judgement = Judgement("kayenta", 75.0, Score.MARGINAL, "")
    finding = Finding("canary score", "candidate", Result.MARGINAL, 75.0, "score 75")
    evidence = {"judgement": plain(asdict(judgement)), "canary": {"config": {}, "pass_score": 95}}
    verdict = Verdict(Result.FAIL, (finding,), evidence)
    told.verdict(8, verdict, "judge-candidate-20%-after-0:01:00")
    told.back(8, f"verdict fail, expected pass: {verdict.reason}", by="flow")
    story = story_of(told.record)
    assert "its metrics scored 75 of 100 beside the old version's, at least 95 needed" in story.headline
    assert [metric.decided for metric in story.metrics] == [True]


def test_a_version_that_never_became_healthy_had_no_traffic(tmp_path: Path) -> None:
    told = Told(tmp_path, "1.2-sick")
    told.back(
        20, "shop/candidate@1.2-sick: 0 of 1 replicas healthy after 20s: replica 1 answers 503", by="flow"
    )
    assert headline(told) == (
        "shop 1.2-sick was taken back before it had any traffic: 0 of 1 replicas healthy after 20s: "
        "replica 1 answers 503; all traffic stayed on 1.1."
    )


def test_who_aborted_a_release_is_named(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    told.line(5, "abort", by="Ada")
    told.back(6, "aborted by Ada", by="watcher", outcome=Outcome.ABORTED)
    story = story_of(told.record)
    assert "after 4.0 s at 20 %: Ada asked for it; all traffic is on 1.1 again" in story.headline
    assert ("Ada", "asked for it to be taken back") in [(deed.who, deed.what) for deed in story.deeds]


def test_a_frozen_release_is_not_said_to_be_safe(tmp_path: Path) -> None:
    told = Told(tmp_path, service=make_service("canary", on_failure="freeze"))
    told.live(2, candidate=20, blue=80)
    told.line(5, "reverting", reason="x broke", outcome=Outcome.ROLLED_BACK, by="guard")
    told.line(5, "ended", outcome=Outcome.FROZEN, message="x broke (left as it is)")
    assert headline(told) == (
        "shop 1.2-errors failed and was left as it is for a person to look at after 3.0 s at 20 %: x broke."
    )


def test_users_are_not_said_to_be_safe_while_some_still_reach_the_new_version(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    told.line(5, "reverting", reason="x broke", outcome=Outcome.FAILED, by="flow")
    told.line(6, "ended", outcome=Outcome.FAILED, message="x broke")
    assert "all traffic" not in headline(told)


def test_a_release_under_way_says_how_far_it_is(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    assert headline(told) == "shop 1.2-errors is being released and has 20 % of the traffic now."
    told.line(5, "reverting", reason="x broke", outcome=Outcome.ROLLED_BACK, by="guard")
    assert "is being taken back" in headline(told)
    assert "again since" not in headline(told)


def test_a_failed_check_that_was_allowed_decides_nothing(tmp_path: Path) -> None:
    told = Told(tmp_path, "1.2")
    told.live(2, candidate=20, blue=80)
    told.check(5, judged(frame_of_counts({"candidate": [(40, 2)] * 2}, after=3)))
    told.verdict(11, judged(frame_of_counts({"candidate": [(400, 2)] * 8}, after=3)))
    told.live(12, green=100)
    told.line(20, "ended", outcome=Outcome.PROMOTED, message="")
    story = story_of(told.record)
    assert story.deciding is None
    assert story.cause == ""
    assert not any(metric.decided for metric in story.metrics)
    assert [one.verdict.result for one in story.judged] == [Result.FAIL, Result.PASS]


def test_the_findings_of_a_check_are_those_that_the_guard_saw(tmp_path: Path) -> None:
    verdict = judged(
        frame_of_counts({"candidate": [(40, 2)] * 5}), error_rate=Limit(max=1), latency_p99=Limit(max=50)
    )
    told = Told(tmp_path)
    told.check(5, verdict)
    assert story_of(told.record).judged[0].verdict.findings == verdict.findings


def test_the_metric_that_decided_comes_first_with_its_limit_and_what_was_found(tmp_path: Path) -> None:
    story = story_of(taken_back(tmp_path).record)
    first, *others = story.metrics
    assert (first.name, first.decided, first.result) == ("error_rate", True, Result.FAIL)
    assert first.limit is not None
    assert first.limit.max == 1
    assert [level.value for level in first.levels] == [5.0]
    assert not any(metric.decided for metric in others)


def test_a_metric_that_failed_without_deciding_comes_after_the_one_that_decided(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.live(2, candidate=20, blue=80)
    slow = frame_of_counts({"candidate": [(40, 0)] * 3}, after=3, latency={"candidate": 500.0})
    told.check(5, judged(slow, latency_p99=Limit(max=50)))
    bad = judged(frame_of_counts({"candidate": [(40, 9)] * 5}, after=6), error_rate=Limit(max=1))
    told.check(11, bad)
    told.back(11, bad.reason)
    metrics = [(metric.name, metric.result) for metric in story_of(told.record).metrics]
    assert metrics[:2] == [("error_rate", Result.FAIL), ("latency_p99", Result.FAIL)]


def test_shares_begin_with_all_on_stable_and_end_there_again(tmp_path: Path) -> None:
    shares = [dict(one.shares) for one in story_of(taken_back(tmp_path).record).shares]
    assert shares == [{"old": 10_000}, {"new": 2000, "baseline": 2000, "old": 6000}, {"old": 10_000}]


def test_a_summary_for_programs(tmp_path: Path) -> None:
    found = story_of(taken_back(tmp_path).record).to_json()
    assert (found["outcome"], found["failed"], found["stable"]) == ("RolledBack", ["error_rate"], "1.1")
    assert found["began"] == BEGAN.isoformat()
    assert found["seconds"] == 7.2


def test_a_story_of_a_release_without_any_step_can_be_told(tmp_path: Path) -> None:
    story = story_of(Told(tmp_path).record)
    assert isinstance(story, Story)
    assert story.metrics == ()
    assert replace(story, ended=BEGAN).duration.total_seconds() == 0
