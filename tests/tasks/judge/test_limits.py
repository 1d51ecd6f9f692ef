"""The judge `limits`: what passes, what fails, and what nobody can know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import comb, inf, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.domain.analysis import Limit
from tasks.domain.errors import PermanentError
from tasks.domain.model import Result, Slot, Split, Verdict
from tasks.judge.evidence import evidence_of, frame_of
from tasks.judge.limits import judge_again, judge_limits, quantile
from tasks.judge.split import CHANCE, _likelihood, judge_split, knows_drawn

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTS = ("requests", "errors", "drawn", "mirrored", "mirrored_errors")


def frame(**columns: Sequence[float]) -> pd.DataFrame:
    """A frame of one sample a second; columns are named ``candidate_requests``."""
    content = {tuple(name.split("_", 1)): values for name, values in columns.items()}
    rows = max(map(len, columns.values()), default=0)
    index = pd.DatetimeIndex([START + timedelta(seconds=second) for second in range(rows)], name="at")
    frame = pd.DataFrame(content, index=index.as_unit("ms"), dtype="float64")
    return frame.rename_axis(columns=["slot", "measure"])


def latencies(*, slot: str = "candidate", **buckets: Sequence[float]) -> pd.DataFrame:
    """Bucket columns, named ``le_25``."""
    found = frame(**{f"{slot}_{name}": values for name, values in buckets.items()})
    return found.rename(columns=lambda name: name.replace("le_", "le:"), level=1)


def judge(found: pd.DataFrame, *, restarts: int = 0, mirrored: bool = False, **limits: Limit) -> Verdict:
    return judge_limits(found, limits, Slot.CANDIDATE, restarts=restarts, mirrored=mirrored)


def test_an_error_rate_above_its_limit_fails_with_a_sentence() -> None:
    verdict = judge(frame(candidate_requests=[300, 200], candidate_errors=[20, 6]), error_rate=Limit(max=1))
    assert verdict.result is Result.FAIL
    assert verdict.reason == "error_rate of candidate was 5.2 % over 500 requests, at most 1 % allowed"
    assert verdict.findings[0].value == pytest.approx(5.2)


@pytest.mark.parametrize(
    ("requests", "errors", "result"),
    [
        (1000, 10, Result.PASS),  # exactly at the limit is still good
        (1000, 11, Result.FAIL),
        (20, 0, Result.PASS),
        (19, 0, Result.INCONCLUSIVE),
        (19, 19, Result.INCONCLUSIVE),
        (0, 0, Result.INCONCLUSIVE),
        (nan, nan, Result.INCONCLUSIVE),
        (100, nan, Result.INCONCLUSIVE),  # requests of which nobody knows how they ended
    ],
)
def test_error_rate(requests: float, errors: float, result: Result) -> None:
    found = frame(candidate_requests=[requests], candidate_errors=[errors])
    assert judge(found, error_rate=Limit(max=1)).result is result


def test_no_data_is_never_a_pass() -> None:
    every = {name: Limit(min=0) for name in ("error_rate", "request_rate", "latency_p50", "latency_p99")}
    empty = frame(**{f"candidate_{name}": [] for name in COUNTS})
    for found in (pd.DataFrame(), empty, frame(blue_requests=[100], blue_errors=[0])):
        verdict = judge(found, **every)
        assert {finding.result for finding in verdict.findings} == {Result.INCONCLUSIVE}
        assert verdict.result is Result.INCONCLUSIVE
        assert "error_rate of candidate is not known: no samples" in verdict.reason


def test_no_limits_is_never_a_pass() -> None:
    assert judge(frame(candidate_requests=[100], candidate_errors=[0])).result is Result.INCONCLUSIVE


@pytest.mark.parametrize("bound", [nan, inf])
def test_a_limit_that_is_no_number_is_refused(bound: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Limit(max=bound)


def test_missing_samples_are_left_out_not_counted_as_zero() -> None:
    found = frame(candidate_requests=[nan, 50, 50, nan], candidate_errors=[nan, 1, 0, 5])
    assert judge(found, error_rate=Limit(max=1)).findings[0].value == 1


def test_the_worst_finding_decides() -> None:
    found = frame(candidate_requests=[100], candidate_errors=[50])
    good, bad, unknown = Limit(max=60), Limit(max=1), Limit(max=1, min_requests=1000)
    assert judge(found, error_rate=good, restarts=0).result is Result.PASS
    assert judge(found, error_rate=bad, latency_p99=unknown).result is Result.FAIL
    assert judge(found, error_rate=good, latency_p99=unknown).result is Result.INCONCLUSIVE


@pytest.mark.parametrize(("restarts", "result"), [(0, Result.PASS), (1, Result.FAIL)])
def test_restarts_need_no_requests(restarts: int, result: Result) -> None:
    verdict = judge_limits(pd.DataFrame(), {"restarts": Limit(max=0)}, Slot.CANDIDATE, restarts=restarts)
    assert verdict.result is result
    assert verdict.findings[0].reason == f"restarts of candidate was {restarts}, at most 0 allowed"


def test_request_rate_is_counted_between_the_first_and_the_last_sample() -> None:
    found = frame(candidate_requests=[1000, 10, nan, 50], candidate_errors=[0, 0, nan, 0])
    assert judge(found, request_rate=Limit(min=20)).findings[0].value == 20
    one = judge(found.iloc[:1], request_rate=Limit(min=20))
    assert one.reason == "request_rate of candidate is not known: one sample, at least two needed"


def test_copies_are_judged_in_place_of_requests() -> None:
    found = frame(
        candidate_requests=[100],
        candidate_errors=[0],
        candidate_mirrored=[100],
        candidate_mirrored_errors=[9],
    )
    assert judge(found, error_rate=Limit(max=1)).result is Result.PASS
    assert judge(found, error_rate=Limit(max=1), mirrored=True).findings[0].value == 9


def test_an_unknown_metric_is_refused_with_the_choices() -> None:
    with pytest.raises(PermanentError, match=r"'latency_p42', expected one of error_rate, .*restarts"):
        judge(pd.DataFrame(), latency_p42=Limit(max=1))


def test_latency_is_interpolated_in_its_bucket() -> None:
    found = latencies(le_10=[20, 20], le_20=[40, 40], le_inf=[40, 40])
    assert judge(found, latency_p50=Limit(max=10)).findings[0].value == 10
    assert judge(found, latency_p90=Limit(max=10)).findings[0].value == 18
    assert judge(found, latency_p90=Limit(max=18)).result is Result.PASS


@pytest.mark.parametrize(
    ("limit", "result"),
    [
        (Limit(max=19), Result.FAIL),
        (Limit(max=20), Result.FAIL),
        (Limit(max=30), Result.INCONCLUSIVE),  # somewhere above 20: who knows
        (Limit(min=20), Result.PASS),
        (Limit(min=30), Result.INCONCLUSIVE),
    ],
)
def test_a_latency_beyond_the_highest_bound_counts_as_above_it(limit: Limit, result: Result) -> None:
    verdict = judge(latencies(le_10=[10], le_20=[30], le_inf=[100]), latency_p99=limit)
    assert verdict.result is result
    assert verdict.findings[0].value == 20
    assert "latency_p99 of candidate was above 20 ms over 100 requests" in verdict.findings[0].reason


def test_bounds_that_changed_in_between_are_left_out() -> None:
    found = latencies(le_10=[nan, 0], le_20=[50, 50], le_inf=[50, 50])
    assert judge(found, latency_p50=Limit(max=40)).findings[0].value == 10  # evenly from 0 to 20


def test_latencies_of_too_few_requests_say_nothing() -> None:
    found = latencies(le_10=[19], le_inf=[19])
    assert judge(found, latency_p50=Limit(max=100)).result is Result.INCONCLUSIVE


BOUNDS = np.array([1, 2, 5, 10, 25, 50, 100, 250, 1000, inf])


@given(
    values=st.lists(st.floats(0.01, 1000), min_size=1, max_size=300),
    q=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_the_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    counts = np.array([np.sum(np.array(values) <= bound) for bound in BOUNDS], dtype="float64")
    found, above = quantile(BOUNDS, counts, q)
    true = np.quantile(values, q, method="inverted_cdf")
    bucket = int(np.searchsorted(BOUNDS, true))
    low = BOUNDS[bucket - 1] if bucket else 0
    assert low <= found <= BOUNDS[bucket]
    assert not above


@given(st.lists(st.integers(1, 50), min_size=10, max_size=10), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_quantile_is_numpys_linear_interpolation(sizes: list[int], q: float) -> None:
    counts = np.cumsum(np.array([*sizes[:9], 0], dtype="float64"))
    found, _ = quantile(BOUNDS, counts, q)
    assert found == pytest.approx(np.interp(q * counts[-1], [0, *counts[:-1]], [0, *BOUNDS[:-1]]))


SPLIT = Split({Slot.BLUE: 9500, Slot.CANDIDATE: 500})


def drawn(**slots: Sequence[float]) -> pd.DataFrame:
    return frame(**{f"{slot}_drawn": values for slot, values in slots.items()})


@pytest.mark.parametrize(
    ("blue", "candidate", "result"),
    [
        (9500, 500, Result.PASS),
        (9050, 950, Result.PASS),  # 9.5 %: within the tolerance, though not by chance
        (8900, 1100, Result.FAIL),
        (16, 4, Result.PASS),  # 20 %, but of 20: 1.6 % of all draws are so far off
        (12, 8, Result.FAIL),
        (19, 0, Result.INCONCLUSIVE),
        (nan, 500, Result.INCONCLUSIVE),
    ],
)
def test_split(blue: float, candidate: float, result: Result) -> None:
    finding = judge_split(drawn(blue=[blue], candidate=[candidate]), SPLIT, 500, 20)
    assert finding.result is result


def test_a_wrong_split_is_told_in_a_sentence() -> None:
    finding = judge_split(drawn(blue=[400, 400], candidate=[100, 100]), SPLIT, 500, 20)
    assert finding.reason == "candidate got 20% of 1000 drawn requests, asked for 5% give or take 5%"
    assert (finding.metric, finding.value) == ("split", 20)


def test_requests_that_reach_a_slot_without_a_share_fail() -> None:
    found = drawn(blue=[900], candidate=[100])
    finding = judge_split(found, Split.all_to(Slot.BLUE), 500, 20)
    assert finding.result is Result.FAIL


def test_a_slot_that_was_not_sampled_leaves_the_split_unknown() -> None:
    for found in (drawn(blue=[900]), drawn(blue=[900], candidate=[nan]), pd.DataFrame()):
        finding = judge_split(found, SPLIT, 500, 20)
        assert finding.result is Result.INCONCLUSIVE
        assert "no samples of" in finding.reason


def test_moments_in_which_a_slot_was_not_sampled_are_left_out() -> None:
    found = drawn(blue=[5000, 950], candidate=[nan, 50])
    assert judge_split(found, SPLIT, 100, 20).value == pytest.approx(5)


@given(st.integers(1, 200), st.data())
def test_the_likelihood_is_the_exact_binomial_one(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    asked = data.draw(st.integers(0, 10_000))
    share = Fraction(asked, 10_000)
    up = range(count, total + 1) if count > total * share else range(count + 1)
    tail = sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in up)
    assert _likelihood(count, total, asked / 10_000) == pytest.approx(min(1, float(2 * tail)), abs=1e-12)


def test_the_likelihood_bears_many_requests() -> None:
    four = 4 * (1_000_000 * 0.05 * 0.95) ** 0.5
    assert _likelihood(50_000 + int(four * 1.02), 1_000_000, 0.05) < CHANCE
    assert _likelihood(50_000 + int(four * 0.98), 1_000_000, 0.05) > CHANCE


counts = st.one_of(st.just(nan), st.integers(0, 500).map(float), st.floats(0, 500))


@settings(max_examples=50)
@given(st.lists(st.tuples(*[counts] * 7), max_size=20))
def test_evidence_comes_back_whole_and_is_judged_the_same(rows: list[tuple[float, ...]]) -> None:
    names = [*COUNTS, "le:25", "le:inf"]
    columns = pd.MultiIndex.from_product([["candidate"], names], names=["slot", "measure"])
    index = pd.DatetimeIndex([START + timedelta(seconds=1.001 * n) for n in range(len(rows))], name="at")
    index = index.tz_localize(UTC) if index.tz is None else index
    found = pd.DataFrame(rows, index=index.as_unit("ms"), columns=columns, dtype="float64")
    pd.testing.assert_frame_equal(
        frame_of(json.loads(json.dumps(evidence_of(found)))), found, check_freq=False
    )
    limits = {"error_rate": Limit(max=10), "request_rate": Limit(min=99), "latency_p95": Limit(max=20)}
    verdict = judge(found, **limits)
    again = judge_again(json.loads(json.dumps(verdict.evidence)))
    assert (again.result, again.findings, again.reason) == (verdict.result, verdict.findings, verdict.reason)


def test_columns_that_never_change_take_no_room() -> None:
    found = frame(candidate_requests=[7] * 300, candidate_errors=[0] * 300, candidate_mirrored=[nan] * 300)
    kept = evidence_of(found)["slots"]["candidate"]
    assert kept == {"requests": 7, "errors": 0, "mirrored": None}


def test_a_source_that_does_not_know_what_was_drawn_is_judged_by_all_requests() -> None:
    found = frame(blue_requests=[900], candidate_requests=[100], blue_drawn=[nan], candidate_drawn=[nan])
    asked = Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})
    assert not knows_drawn(found)
    assert judge_split(found, asked, 500, 1).result is Result.INCONCLUSIVE
    assert judge_split(found, asked, 500, 1, measure="requests").result is Result.FAIL
