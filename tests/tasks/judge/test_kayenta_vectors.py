"""Kayenta's own figures, and some derived ones, of what is done with one metric and with the scores."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from tasks.domain.canary import Direction, EffectMeasure, EffectSize, MetricConfig, NanStrategy
from tasks.domain.pairs import MetricPair, Values
from tasks.judge import clean
from tasks.judge.canary_config import _Faults, _number, find
from tasks.judge.compare import cohens_d, common_language, mean_ratio, shifts
from tasks.judge.differences import differences, noisy
from tasks.judge.judgement import Classification, MetricResult
from tasks.judge.kayenta import classify, classify_means
from tasks.judge.ranks import Statistic
from tasks.judge.score import score
from tests.rig.vectors import (
    METRICS,
    MISSING,
    RUNS,
    UNPORTABLE,
    Check,
    Given,
    as_list,
    check,
    of_kinds,
    sample,
    values,
    vectors,
)

pytestmark = MISSING


def metric_of(params: Given) -> MetricConfig:
    allowed, critical = params["effectSizeThresholds"], params["criticalThresholds"]
    effect = EffectSize(
        EffectMeasure(params["effectSizeMeasure"]),
        allowed_increase=allowed["increase"],
        allowed_decrease=allowed["decrease"],
        critical_increase=critical["increase"],
        critical_decrease=critical["decrease"],
    )
    return MetricConfig(
        "m",
        direction=Direction(params["direction"]),
        nan=NanStrategy(params["nanStrategy"]),
        critical=params["critical"],
        must_have_data=params["mustHaveData"],
        effect=effect,
    )


def classification(inputs: Given, params: Given) -> Mapping[str, object]:
    metric = metric_of(params)
    pair = MetricPair("m", values(inputs["control"]), values(inputs["experiment"]))
    (found,) = differences([pair], [metric], params["confLevel"], seed=0)
    label = classify(metric, found, tolerance=params["tolerance"])
    bound = params["tolerance"] * abs(found.estimate)
    return {
        "classification": label.classification,
        "critical": label.critical,
        "reason_present": bool(label.reason),
        "deviation": found.ratio,
        "effectSize": found.effect,
        "ci_low": found.lower,
        "ci_high": found.upper,
        "estimate": found.estimate,
        "lower_bound": -bound,
        "upper_bound": bound,
    }


def mann_whitney(inputs: Given, params: Given) -> Mapping[str, object]:
    found = shifts(sample(inputs["experiment"]), sample(inputs["control"]), params["confidenceLevel"])
    return {"ci_low": found.lower[0], "ci_high": found.upper[0], "estimate": found.estimate[0]}


def wilcoxon(x: list[Any], y: list[Any], shift: float, quantile: float) -> float:
    found = Statistic(sample(x), sample(y)).counted(np.array([0]), np.array([shift]))
    return float(found[0]) - quantile


def intermediate(inputs: Given, params: Given) -> Mapping[str, object]:
    x, y = inputs["experiment"], inputs["control"]
    statistic = Statistic(sample(x), sample(y))
    low, high = float(statistic.lowest[0]), float(statistic.highest[0])
    z = quantile(params["confidenceLevel"])
    at = {
        f"f_at_mu_{end}_zq_{side}": wilcoxon(x, y, shift, quantile)
        for end, shift in (("min", low), ("max", high))
        for side, quantile in (("lower", z), ("upper", -z))
    }
    ends = {"mu_min": low, "mu_max": high, "zq_lower": z, "zq_upper": -z}
    return {**ends, **at, **mann_whitney(inputs, params)}


def quantile(confidence: float) -> float:
    """As `shifts` has it."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / 2)


def summary(inputs: Given, _params: Given) -> Mapping[str, object]:
    pair = MetricPair("m", values(inputs["data"]), values(inputs["data"]))
    (found,) = differences([pair], [MetricConfig("m")], 0.98, seed=0)
    return vars(found.experiment)


def percentile(inputs: Given, params: Given) -> Mapping[str, object]:
    return {"value": clean.percentile(sample(inputs["data"]), params["p"])[0]}


def flagged(data: list[Any], fences: tuple[Values, Values]) -> list[bool]:
    """In the order of *data*."""
    low, high = (float(fence[0]) for fence in fences)
    return [bool(value < low or value > high) for value in values(data)]


def quartile_fences(data: list[Any], params: Given) -> tuple[Values, Values]:
    fences = clean.judge_fences if params["reduceSensitivity"] else clean.quartile_fences
    return fences(sample(data), params["factor"])


def iqr(inputs: Given, params: Given) -> Mapping[str, object]:
    data = inputs["data"]
    found = flagged(data, quartile_fences(data, params))
    rows = sample(data)
    marked = clean.outliers(rows, quartile_fences(data, params))
    assert sum(found) == marked.sum(), "the judge removes as many"
    return {"outliers": found}


def without(data: list[Any], fences: tuple[Values, Values]) -> Mapping[str, object]:
    """What is left, compared without order."""
    rows = sample(data)
    kept = rows.without(clean.outliers(rows, fences))
    expected = [value for value, bad in zip(data, flagged(data, fences), strict=True) if not bad]
    assert as_list(kept.values[0, : int(kept.counts[0])]) == sorted(expected)
    return {"data": expected}


def scored(inputs: Given, params: Given) -> Mapping[str, object]:
    results = [
        MetricResult(
            one["name"],
            str(place),
            Classification(one["classification"]),
            groups=tuple(one["groups"]),
            critical=one["critical"],
        )
        for place, one in enumerate(inputs["results"])
    ]
    found = score(results, params["groupWeights"])
    scores = [group.score or 0.0 for group in found.groups]
    return {"summaryScore": found.score, "groupScores": scores, "groupScoresSorted": sorted(scores)}


def drawn(_inputs: Given, params: Given) -> Mapping[str, object]:
    mean, generator = params["mean"], np.random.default_rng(params.get("seed"))
    found = noisy(np.full(params["numSamples"], mean), params["stdev"], generator)
    return {
        "mean": np.mean(found),
        "variance": np.var(found),
        "stdev": np.std(found),
        "length": len(found),
        "value": found[0],
    }


def by_means(inputs: Given, params: Given) -> Mapping[str, object]:
    metric = MetricConfig("m", direction=Direction(params["direction"]))
    means = (float(clean.means(sample(inputs[side]))[0]) for side in ("experiment", "control"))
    return {"classification": classify_means(metric, *means)}


def ratio(inputs: Given, _params: Given) -> Mapping[str, object]:
    return {
        "value": mean_ratio(*(clean.means(sample(inputs[side])) for side in ("experiment", "control")))[0]
    }


CHECKS: dict[str, Check] = {
    "classify": classification,
    "cles": lambda i, _: {"value": common_language(sample(i["experiment"]), sample(i["control"]))[0]},
    "cohen_d": lambda i, _: {"value": cohens_d(values(i["experiment"]), values(i["control"]))},
    "detect_iqr": iqr,
    "detect_ksigma": lambda i, p: {
        "outliers": flagged(i["data"], clean.sigma_fences(sample(i["data"]), p["k"]))
    },
    "mann_whitney": mann_whitney,
    "mann_whitney_intermediate": intermediate,
    "map_get": lambda i, p: {"value": find(i["data"], *p["path"])},
    "map_get_double": lambda i, p: {
        "value": _number(_Faults(), "", find(i["data"], *p["path"]), p["default"])
    },
    "mean_inequality_classify": by_means,
    "mean_ratio": ratio,
    "mean_ratio_from_stats": ratio,
    "normal_quantile": lambda _, p: {"value": -quantile(1 - 2 * p["p"])},
    "percentile": percentile,
    "random_normal_head": drawn,
    "random_normal_stats": drawn,
    "remove_nans": lambda i, _: {"data": as_list(clean.without_nan(values(i["data"]), NanStrategy.REMOVE))},
    "remove_outliers_iqr": lambda i, p: without(i["data"], quartile_fences(i["data"], p)),
    "remove_outliers_ksigma": lambda i, p: without(
        i["data"], clean.sigma_fences(sample(i["data"]), p.get("k", 3.0))
    ),
    "replace_nans": lambda i, _: {"data": as_list(clean.without_nan(values(i["data"]), NanStrategy.REPLACE))},
    "summary_stats": summary,
    "weighted_sum_score": scored,
    "wilcoxon_diff": lambda i, p: {"value": wilcoxon(i["x"], i["y"], p["mu"], p["quantile"])},
}
"""By kind of vector, what gives the figures that it asserts."""


def test_every_vector_is_covered() -> None:
    found = vectors()
    assert {vector["kind"] for vector in found} == CHECKS.keys() | RUNS | METRICS | UNPORTABLE
    assert [vector["id"] for vector in found if not vector.get("portable", True)] == ["TransformSuite#6"]
    assert len(found) == 271 + 32


@pytest.mark.parametrize("vector", of_kinds(CHECKS))
def test_a_figure_is_kayentas(vector: Given) -> None:
    check(vector, CHECKS)
