"""Canary configs are read as they are; what Kayenta overlooks is named, or refused."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from tasks.domain.canary import Direction, EffectMeasure, EffectSize, NanStrategy, OutlierStrategy
from tasks.domain.errors import FaultsError, InputError
from tasks.judge.canary_config import find, read_config
from tests.rig.vectors import SHARED

GOOD: dict[str, Any] = {
    "name": "shop",
    "judge": {"name": "NetflixACAJudge-v1.0", "judgeConfigurations": {}},
    "metrics": [
        {
            "name": "errors",
            "query": {"type": "prometheus", "metricName": "errors"},
            "groups": ["faults"],
            "analysisConfigurations": {"canary": {}},
            "scopeName": "default",
        }
    ],
    "classifier": {"groupWeights": {"faults": 100}},
}


def config(canary: object = None, /, **metric: object) -> dict[str, Any]:
    """The good one with one part changed; `...` takes a key away."""
    changed = deepcopy(GOOD)
    first = changed["metrics"][0]
    first["analysisConfigurations"]["canary"] = {} if canary is None else canary
    for key, value in metric.items():
        if value is ...:
            del first[key]
        else:
            first[key] = value
    return changed


def test_settings_are_read_and_what_is_left_out_has_its_default() -> None:
    found, warnings = read_config(GOOD, strict=True)
    (metric,) = found.metrics
    assert warnings == []
    assert (found.name, found.judge, found.group_weights) == (
        "shop",
        "NetflixACAJudge-v1.0",
        {"faults": 100.0},
    )
    assert (metric.name, metric.groups, metric.scope) == ("errors", ("faults",), "default")
    assert metric.query == {"type": "prometheus", "metricName": "errors"}
    assert (metric.direction, metric.nan, metric.outliers) == ("either", "remove", "keep")
    assert (metric.outlier_factor, metric.effect) == (3.0, EffectSize())
    assert not any((metric.critical, metric.must_have_data, metric.muted))


def test_every_setting_is_read() -> None:
    canary = {
        "direction": "increase",
        "nanStrategy": "replace",
        "outliers": {"strategy": "remove", "outlierFactor": 2},
        "critical": True,
        "mustHaveData": True,
        "muted": True,
        "effectSize": {"measure": "cles", "allowedIncrease": 0.8, "criticalIncrease": 1},
    }
    (metric,) = read_config(config(canary), strict=True)[0].metrics
    assert metric.direction is Direction.INCREASE
    assert metric.nan is NanStrategy.REPLACE
    assert (metric.outliers, metric.outlier_factor) == (OutlierStrategy.REMOVE, 2.0)
    assert all((metric.critical, metric.must_have_data, metric.muted))
    assert metric.effect == EffectSize(EffectMeasure.CLES, 0.8, 0.5, 1.0, 0.5)


CANARY = "metrics.0.analysisConfigurations.canary"
OVERLOOKED: list[tuple[dict[str, Any], str]] = [
    (config({"direction": "Increase"}), f"{CANARY}.direction: found 'Increase', expected one of increase"),
    (config({"nanStrategy": "zero"}), f"{CANARY}.nanStrategy: found 'zero', expected one of remove, replace"),
    (config({"outliers": {"strategy": 1}}), f"{CANARY}.outliers.strategy: found 1, expected one of remove"),
    (config({"effectSize": {"measure": "cohenD"}}), f"{CANARY}.effectSize.measure: found 'cohenD', expected"),
    (config({"effectSize": 1.2}), f"{CANARY}.effectSize: found 1.2, expected an object"),
    (config({"critical": "true"}), f"{CANARY}.critical: found 'true', expected true or false"),
    (config({"mutedOutput": True}), f"{CANARY}: found 'mutedOutput', expected only critical, direction"),
    (config({"effectSize": {"allowedIncreese": 2}}), f"{CANARY}.effectSize: found 'allowedIncreese'"),
    (
        config(analysisConfigurations={"direction": "increase"}),
        "metrics.0.analysisConfigurations: found 'direction', expected only canary",
    ),
    (config(scopeName=...), "metrics.0.scopeName: found None, expected the name of a request's scope"),
    (config(extensions={"canary": {}}), "metrics.0.extensions: found 'the schema of old', expected"),
    (GOOD | {"services": {}}, "services: found 'the schema of old', expected"),
]


@pytest.mark.parametrize(("content", "said"), OVERLOOKED, ids=[said[:60] for _, said in OVERLOOKED])
def test_what_kayenta_overlooks_is_warned_of_or_refused(content: dict[str, Any], said: str) -> None:
    found, warnings = read_config(content, strict=False)
    assert [warning for warning in warnings if warning.startswith(said)], warnings
    (metric,) = found.metrics
    assert (metric.direction, metric.effect, metric.critical) == (Direction.EITHER, EffectSize(), False)
    with pytest.raises(InputError) as refused:
        read_config(content, strict=True)
    assert said in str(refused.value)


THROWN: list[tuple[object, str]] = [
    (
        config({"effectSize": {"allowedIncrease": "2"}}),
        f"{CANARY}.effectSize.allowedIncrease: found '2', expected a number",
    ),
    (config({"effectSize": {"allowedIncrease": True}}), f"{CANARY}.effectSize.allowedIncrease: found True"),
    (config({"outliers": {"outlierFactor": [3]}}), f"{CANARY}.outliers.outlierFactor: found 'a list of 1'"),
    (
        config(query={"customFilter": "a=b"}),
        "metrics.0.query.customFilter: found 'a=b', expected customFilterTemplate",
    ),
    (config(name=...), "metrics.0.name: found None, expected a name"),
    (config(groups="faults"), "metrics.0.groups: found 'faults', expected a list of names"),
    (config(scopeName=1), "metrics.0.scopeName: found 1, expected text"),
    (GOOD | {"metrics": []}, "metrics: found [], expected a list of at least one metric"),
    (GOOD | {"metrics": ["cpu"]}, "metrics.0: found 'cpu', expected an object"),
    (
        GOOD | {"metrics": GOOD["metrics"] * 2},
        "metrics.1.name: found 'errors', expected a name that no other",
    ),
    (GOOD | {"classifier": None}, "classifier: found None, expected an object"),
    (
        GOOD | {"classifier": {"groupWeights": {"faults": "all"}}},
        "classifier.groupWeights.faults: found 'all'",
    ),
    (GOOD | {"templates": {"a": 1}}, "templates.a: found 1, expected text"),
    ({"canaryConfig": GOOD}, "canaryConfig: found 'one inside', expected the config by itself"),
    ([GOOD], "config: found 'a list of 1', expected an object"),
    (None, "config: found None, expected an object"),
]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("content", "said"), THROWN, ids=[said[:60] for _, said in THROWN])
def test_what_kayenta_throws_at_is_refused_in_any_reading(
    content: object, said: str, *, strict: bool
) -> None:
    with pytest.raises(InputError) as refused:
        read_config(content, strict=strict)
    assert said in str(refused.value)


def test_every_fault_is_told_at_once() -> None:
    content = config({"direction": "up", "effectSize": {"allowedIncrease": "2"}}, scopeName=...)
    with pytest.raises(FaultsError) as refused:
        read_config(content, strict=True)
    assert [fault.field for fault in refused.value.faults] == [
        f"{CANARY}.effectSize.allowedIncrease",
        "metrics.0.scopeName",
        f"{CANARY}.direction",
    ]
    assert str(refused.value).splitlines()[0] == "the canary config has 3 fault(s):"
    assert refused.value.field == f"{CANARY}.effectSize.allowedIncrease"


WEIGHTS: list[tuple[dict[str, float], list[str]]] = [
    ({"faults": 100}, []),
    ({}, []),
    ({"faults": 60}, ["classifier.groupWeights: found 60.0, expected weights that add up to 100"]),
    ({"faults": 120}, ["classifier.groupWeights: found 120.0, expected weights that add up to 100"]),
    (
        {"faults": 60, "gone": 40},
        ["classifier.groupWeights.gone: found 40.0, expected a group that a metric"],
    ),
    (
        {"gone": 100},
        [
            "classifier.groupWeights: found 100.0, expected something left for faults",
            "classifier.groupWeights.gone: found 100.0",
        ],
    ),
]


@pytest.mark.parametrize(("weights", "said"), WEIGHTS)
def test_weights_that_do_not_add_up_are_told(weights: dict[str, float], said: list[str]) -> None:
    """Only where the judge does not mend them; the davy judge says what it takes in their place."""
    content = GOOD | {"classifier": {"groupWeights": weights}}
    warnings = read_config(content, strict=False)[1]
    assert len(warnings) == len(said)
    assert all(warning.startswith(start) for warning, start in zip(warnings, said, strict=True))
    assert read_config(content, strict=True)[1] == []


@pytest.mark.parametrize("name", ["dredd-v1.0", None])
def test_a_config_that_asks_for_another_judge_is_read_with_a_warning(name: str | None) -> None:
    (warning,) = read_config(GOOD | {"judge": {"name": name}}, strict=True)[1]
    assert warning.startswith(f"judge.name: found {name!r}, expected NetflixACAJudge-v1.0")


def test_a_metric_without_a_group_is_read_with_a_warning() -> None:
    """The davy judge puts it into a group of its own."""
    for strict in (True, False):
        assert (
            "metrics.0.groups: found None, expected at least one name"
            in read_config(config(groups=...), strict=strict)[1]
        )


def test_what_stands_in_a_list_is_found_in_each_item() -> None:
    assert find({"list": [{"a": "1"}, {"b": "2"}, {"a": "3"}]}, "list", "a") == ["1", "3"]
    assert find({"list": [{"a": "1"}]}, "list", "c") is None
    assert find(None, "a") is None
    assert find(42) == 42


READ, LEGACY, UNSCOPED = "", "the schema of old", "scopeName"
FILES: dict[str, tuple[str, str]] = {
    "data_archival_format": ("expected an object", "expected an object"),
    "docs_MySampleAtlasCanaryConfig": (READ, READ),
    "docs_MySampleDatadogCanaryConfig": (READ, READ),
    "docs_MySampleGraphiteCanaryConfig": (READ, READ),
    "docs_MySampleK8SPrometheusCanaryConfigWithCustomFilterTemplate": (READ, READ),
    "docs_MySamplePrometheusCanaryConfig": (READ, READ),
    "docs_MySampleStackdriverCanaryConfig": (READ, READ),
    "docs_MySampleWavefrontCanaryConfig": (READ, READ),
    "docs_SignalFxIntegrationTestCanaryConfig": (READ, READ),
    "graphite_integration_cpu": (READ, READ),
    "graphite_integration_test": (READ, READ),
    "invalid_duplicated_metric_name": ("no other metric has", "no other metric has"),
    "legacy_atlas_sample": (READ, LEGACY),
    "legacy_graphite_sample": (READ, LEGACY),
    "legacy_judge_test_config": (READ, LEGACY),
    "prometheus_integration_cpu": (READ, READ),
    "prometheus_muted_metric": (READ, READ),
    "request_newrelic_adhoc": ("canaryConfig", "canaryConfig"),
    "request_orca_kayentaCanary_stage": ("canaryConfig", "canaryConfig"),
    "scratch_atlas": (READ, UNSCOPED),
    "scratch_newrelic": (READ, READ),
    "scratch_prometheus": (READ, UNSCOPED),
    "scratch_stackdriver": (READ, UNSCOPED),
    "signalfx_integration_test": (READ, READ),
    "stackdriver_k8s_workshop": (READ, READ),
    "stackdriver_spin_example": (READ, READ),
}
"""What each real config is refused for: by a loose reading, and by a strict one."""


@pytest.mark.skipif(not SHARED.is_dir(), reason="kayenta configs not found; set SHARED")
def test_there_are_no_other_files() -> None:
    assert {path.stem for path in (SHARED / "configs").glob("*.json")} == FILES.keys()


@pytest.mark.skipif(not SHARED.is_dir(), reason="kayenta configs not found; set SHARED")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_real_configs_are_read_or_refused_for_the_right_reason(name: str, *, strict: bool) -> None:
    content = json.loads((SHARED / "configs" / f"{name}.json").read_text())
    reason = FILES[name][strict]
    if reason:
        with pytest.raises(InputError, match=reason):
            read_config(content, strict=strict)
        return
    found, _ = read_config(content, strict=strict)
    assert [metric.name for metric in found.metrics] == [metric["name"] for metric in content["metrics"]]
    if FILES[name][1]:
        assert any(FILES[name][1] in warning for warning in read_config(content, strict=False)[1])
