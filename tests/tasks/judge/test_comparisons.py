"""Comparisons: what is proven of a candidate beside another version, and what is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tasks.domain.analysis import Comparison
from tasks.domain.model import Result, Slot
from tasks.judge.comparisons import Comparing, compare_again
from tasks.judge.evidence import evidence_of
from tasks.judge.sequential import threshold
from tasks.judge.standings import Terms

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOUNDS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, float("inf"))
PROOF = threshold(0.01)


def frame(start: int = 0, **columns: object) -> pd.DataFrame:
    """One sample a second from *start* on; columns are named ``candidate_requests``; a number stands for all rows."""
    rows = max((len(values) for values in columns.values() if isinstance(values, list)), default=60)
    content = {
        tuple(name.split("_", 1)): values if isinstance(values, list) else [values] * rows
        for name, values in columns.items()
    }
    at = pd.DatetimeIndex([START + timedelta(seconds=start + row) for row in range(rows)], name="at")
    return pd.DataFrame(content, index=at, dtype="float64").rename_axis(columns=["slot", "measure"])


def with_latencies(seconds: int, **milliseconds: float) -> pd.DataFrame:
    """Both sides' latencies, exponential around a mean by slot, 50 requests a second each."""
    draw = np.random.default_rng(7)
    content: dict[tuple[str, str], list[float]] = {}
    for slot, mean in milliseconds.items():
        taken = draw.exponential(mean, (seconds, 50))
        content[slot, "requests"], content[slot, "errors"] = [50.0] * seconds, [0.0] * seconds
        for bound in BOUNDS:
            content[slot, f"le:{bound:g}"] = list((taken <= bound).sum(axis=1).astype(float))
    at = pd.DatetimeIndex([START + timedelta(seconds=second) for second in range(seconds)], name="at")
    return pd.DataFrame(content, index=at).rename_axis(columns=["slot", "measure"])


def comparing(mirrored: bool = False, **compare: Mapping[str, float]) -> Comparing:  # noqa: FBT001, FBT002 - a keyword here
    terms = {name: Comparison.model_validate(one) for name, one in compare.items()}
    return Comparing(Terms(terms, Slot.CANDIDATE, Slot.BASELINE, PROOF, mirrored=mirrored))


def test_a_clearly_worse_error_rate_fails_with_both_figures() -> None:
    held = comparing(error_rate={"tolerance": 20, "floor": 0.5})
    held.feed(frame(candidate_requests=50, candidate_errors=3, baseline_requests=50, baseline_errors=0))
    verdict = held.verdict()
    assert verdict.result is Result.FAIL
    assert verdict.reason.startswith("error_rate of candidate is 6 % (")
    assert "of baseline 0 % (0 to " in verdict.reason
    assert "20 % more and 0.5 %" in verdict.reason


def test_versions_that_fail_alike_pass_even_at_a_high_rate() -> None:
    held = comparing(error_rate={"tolerance": 20})
    held.feed(frame(candidate_requests=50, candidate_errors=5, baseline_requests=50, baseline_errors=5))
    assert held.verdict().result is Result.PASS


def test_below_the_floor_nothing_is_worse() -> None:
    held = comparing(error_rate={"tolerance": 0, "floor": 2})
    held.feed(frame(candidate_requests=100, candidate_errors=1, baseline_requests=100, baseline_errors=0))
    assert held.verdict().result is Result.PASS


@pytest.mark.parametrize("missing", ["candidate", "baseline"])
def test_without_requests_on_both_sides_nothing_is_known(missing: str) -> None:
    there = "baseline" if missing == "candidate" else "candidate"
    held = comparing(error_rate={})
    held.feed(frame(**{f"{there}_requests": 50, f"{there}_errors": 0}))
    assert held.verdict().result is Result.INCONCLUSIVE


def test_what_a_gate_must_find_has_to_be_ruled_out() -> None:
    held = comparing(error_rate={"floor": 0.5, "detect": 2})
    held.feed(frame(candidate_requests=2, candidate_errors=0, baseline_requests=2, baseline_errors=0))
    early = held.verdict()
    assert (early.result, "2 % or more can't be ruled out yet" in early.reason) == (Result.INCONCLUSIVE, True)
    held.feed(frame(60, candidate_requests=20, candidate_errors=0, baseline_requests=20, baseline_errors=0))
    assert held.verdict().result is Result.PASS


def test_copies_are_judged_in_place_of_requests() -> None:
    held = comparing(mirrored=True, error_rate={"floor": 0.5})
    held.feed(
        frame(
            candidate_requests=0,
            candidate_errors=0,
            candidate_mirrored=50,
            candidate_mirrored_errors=4,
            baseline_requests=50,
            baseline_errors=0,
        )
    )
    assert held.verdict().result is Result.FAIL


def test_sides_that_are_sampled_at_different_moments_are_compared_all_the_same() -> None:
    held = comparing(error_rate={"floor": 0.5})
    nan = float("nan")
    held.feed(
        frame(
            candidate_requests=[50.0, nan] * 30,
            candidate_errors=[3.0, nan] * 30,
            baseline_requests=[nan, 50.0] * 30,
            baseline_errors=[nan, 0.0] * 30,
        )
    )
    assert held.verdict().result is Result.FAIL


def test_samples_are_counted_once_however_windows_overlap() -> None:
    rows = {"candidate_requests": 50, "candidate_errors": 1, "baseline_requests": 50, "baseline_errors": 1}
    once, often = comparing(error_rate={}), comparing(error_rate={})
    whole = frame(**rows)
    once.feed(whole)
    for row in range(0, 60, 5):
        often.feed(whole.iloc[max(0, row - 20) : row + 5])
    assert often.verdict() == once.verdict()


def test_a_slower_tail_is_proven_and_the_same_tail_is_not() -> None:
    slow, same = (comparing(latency_p90={"tolerance": 25}) for _ in range(2))
    slow.feed(with_latencies(60, candidate=80, baseline=15))
    same.feed(with_latencies(60, candidate=20, baseline=20))
    assert slow.verdict().result is Result.FAIL
    assert "latency_p90 of candidate" in slow.verdict().reason
    assert same.verdict().result is Result.PASS


def test_equivalence_is_proven_only_where_it_is_true() -> None:
    good, worse = (comparing(error_rate={"tolerance": 100, "floor": 1}) for _ in range(2))
    good.feed(frame(candidate_requests=100, candidate_errors=0, baseline_requests=100, baseline_errors=0))
    worse.feed(frame(candidate_requests=100, candidate_errors=2, baseline_requests=100, baseline_errors=0))
    assert good.is_same
    assert not worse.is_same


def test_the_evidence_is_json_and_names_what_it_was_held_against() -> None:
    held = comparing(error_rate={"floor": 0.5}, latency_p99={"tolerance": 25})
    held.feed(with_latencies(30, candidate=20, baseline=20))
    (errors, latency) = json.loads(json.dumps(held.verdict().evidence))["comparisons"]
    assert (errors["metric"], errors["against"], errors["threshold"]) == ("error_rate", "baseline", PROOF)
    assert latency["candidate"]["lower"] <= latency["candidate"]["value"]
    assert latency["unit"] == "ms"


def test_judging_the_evidence_again_gives_the_same_verdict() -> None:
    held = comparing(error_rate={"floor": 0.5}, latency_p90={"tolerance": 25})
    samples = with_latencies(40, candidate=80, baseline=15)
    for row in range(40):
        held.feed(samples.iloc[: row + 1])
    verdict = held.verdict()
    evidence = json.loads(json.dumps({**verdict.evidence, "compared": evidence_of(samples)}))
    assert compare_again(evidence) == replace(compare_again(evidence), findings=verdict.findings)
    assert compare_again(evidence).evidence["comparisons"] == verdict.evidence["comparisons"]


def test_latencies_that_nobody_measured_are_not_known_and_leave_json_behind() -> None:
    held = comparing(latency_p99={"tolerance": 25})
    held.feed(frame(candidate_requests=50, candidate_errors=0, baseline_requests=50, baseline_errors=0))
    verdict = held.verdict()
    assert verdict.result is Result.INCONCLUSIVE
    json.dumps(verdict.evidence, allow_nan=False)
