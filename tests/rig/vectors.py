"""The figures that Kayenta's own tests assert, and what finds them where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.domain.pairs import Values
from tasks.judge.sample import Sample

SHARED = Path(os.environ.get("SHARED", Path(__file__).parents[2].parent / "shared")) / "kayenta"
MISSING = pytest.mark.skipif(not SHARED.is_dir(), reason="kayenta vectors not found; set SHARED")
RUNS = {
    "aggregate_status",
    "aggregated_judgement",
    "baseline_offset",
    "interval_windows",
    "judgement_window_iso",
    "judgement_windows",
    "lifetime_minutes",
    "mix_all",
    "mix_one",
    "prometheus_parse_and_mix",
    "request_scope_offset",
    "sort_run_stages",
    "stage_sequence",
}
"""Kinds that are about several judgements, and about pairs: test_kayenta_runs.py."""
METRICS = {"datadog_fill", "datadog_query", "expand_custom_filter", "prometheus_parse", "prometheus_query"}
"""Kinds that are about queries and their answers: tests/tasks/metrics."""
UNPORTABLE = {"add_gaussian_noise_stats"}
"""What no other program can repeat: it seeds Java's generator."""
ROUNDING = 2e-14
"""One unit in the last place of the figures, which their notes allow."""

Given = Mapping[str, Any]
Check = Callable[[Given, Given], Mapping[str, object]]
"""Gives what was found for inputs and parameters, by the name that it has among what is expected."""


def vectors() -> list[Given]:
    """Every one; none where the files are missing."""
    files = (SHARED / name for name in ("vectors.json", "vectors_derived.json"))
    return [one for file in files if file.is_file() for one in json.loads(file.read_text())["vectors"]]


def of_kinds(checks: Mapping[str, Check]) -> list[Any]:
    """The vectors that *checks* covers, each with its id, as parameters of a test."""
    found = [pytest.param(one, id=one["id"]) for one in vectors() if one["kind"] in checks]
    return found or [pytest.param({}, id="missing")]


def check(vector: Given, checks: Mapping[str, Check]) -> None:
    """Hold what is found against what is expected, to the vector's own tolerance."""
    found = checks[vector["kind"]](vector["inputs"], vector["params"])
    reference = vector.get("reference", {}) if vector["kind"] == "mann_whitney" else {}
    for key, expected in {**reference, **vector["expected"]}.items():
        tolerance = vector["tolerance"]
        close = tolerance[key] if isinstance(tolerance, dict) else tolerance
        assert _agrees(found[key], expected, max(close, ROUNDING)), (key, found[key], expected)


def _agrees(found: Any, expected: Any, tolerance: float) -> bool:  # noqa: ANN401 - whatever JSON holds
    if expected == "NaN" or (isinstance(expected, float | int) and not isinstance(expected, bool)):
        return bool(np.isclose(float(found), float(expected), rtol=0, atol=tolerance, equal_nan=True))
    if isinstance(expected, list):
        pairs = zip(found, expected, strict=False)
        return len(found) == len(expected) and all(_agrees(*pair, tolerance) for pair in pairs)
    if isinstance(expected, dict):
        return all(_agrees(found[key], value, tolerance) for key, value in expected.items())
    return bool(found == expected)


def values(numbers: list[Any]) -> Values:
    """As an array; ``"NaN"`` is NaN."""
    return np.array([float(number) for number in numbers])


def sample(numbers: list[Any]) -> Sample:
    """As the only row."""
    return Sample.of([values(numbers)])


def as_list(found: Values) -> list[float]:
    """As plain numbers."""
    return [float(value) for value in found]
