"""Service files' models: defaults, round trips, schema, and the batches of a rolling release."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # stubs are not among the dependencies
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.domain.spec import BlueGreen, BlueGreenCanary, Canary, Rolling, service_adapter, service_schema

MINIMAL: dict[str, Any] = {"service": "shop", "fleet": {"command": "serve"}, "router": {"port": 8080}}
STRATEGIES = ["rolling", "blue-green", "canary", "blue-green-canary"]
EXAMPLES = sorted((Path(__file__).parents[3] / "deployments" / "examples").glob("*.yaml"))


def minimal(strategy: str, /, **more: object) -> dict[str, Any]:
    return {**MINIMAL, "strategy": strategy} | more


def test_the_defaults_are_the_ones_that_the_design_names() -> None:
    rolling = Rolling.model_validate(MINIMAL)
    assert (rolling.max_surge, rolling.max_unavailable) == ("25%", "25%")
    assert (rolling.bake, rolling.replicas) == (timedelta(minutes=1), 2)
    assert (rolling.on_failure, rolling.on_crash) == ("revert", "revert")
    assert rolling.abort_scale_down_delay == timedelta(seconds=30)
    assert rolling.resume_within == timedelta(minutes=5)
    assert (rolling.matches, rolling.mirror, rolling.affinity) == ((), None, None)
    assert (rolling.hooks.before, rolling.hooks.after) == ((), ())
    blue_green = BlueGreen.model_validate(MINIMAL)
    assert blue_green.scale_down_delay == timedelta(seconds=30)
    assert (blue_green.preview.path, blue_green.preview.status) == ("/", 200)
    canary = Canary.model_validate(MINIMAL)
    assert [step.share for step in canary.steps] == [500, 2500, 5000]
    assert (canary.baseline, canary.baseline_until, canary.promote) == (True, 2500, True)
    assert BlueGreenCanary.model_validate(MINIMAL).trickle.share == 500


def test_an_error_rate_and_restarts_are_judged_unless_the_file_says_otherwise() -> None:
    analysis = Canary.model_validate(MINIMAL).analysis
    assert {name: limit.max for name, limit in analysis.limits.items()} == {"error_rate": 1.0, "restarts": 0}
    assert (analysis.interval, analysis.window) == (timedelta(seconds=1), timedelta(seconds=30))
    assert analysis.metrics.source == "envoy"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_first_service_file_needs_three_things_and_a_strategy(strategy: str) -> None:
    service = service_adapter.validate_python(minimal(strategy))
    assert service.strategy == strategy
    assert len(yaml.safe_dump(minimal(strategy)).splitlines()) <= 15


FULL: dict[str, Any] = {
    "replicas": 7,
    "matches": [{"header": "x-tester", "value": "1"}, {"cookie": "tester", "value": "yes"}],
    "mirror": {"share": 12.34, "bake": "90s"},
    "affinity": {"cookie": "who", "ttl": "14d"},
    "on_failure": "freeze",
    "on_crash": "resume",
    "hooks": {"before": ["true"], "after": ["true"], "timeout": "1500ms"},
    "analysis": {
        "limits": {"latency_p99": {"max": 250.5, "failures": 2}, "request_rate": {"min": 1}},
        "metrics": {"source": "prometheus", "url": "http://127.0.0.1:9090"},
    },
}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("more", [{}, FULL], ids=["minimal", "full"])
def test_a_service_comes_back_from_json_as_it_was(strategy: str, more: dict[str, Any]) -> None:
    service = service_adapter.validate_python(minimal(strategy, **more))
    assert service_adapter.validate_python(service.model_dump(mode="json")) == service


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 10_000))
def test_any_clock_and_share_come_back_from_json(bake: int, delay: int, share: int) -> None:
    given_ = minimal(
        "blue-green-canary",
        scale_down_delay=f"{delay}ms",
        trickle={"share": min(share, 9_999) / 100, "bake": f"{bake}ms"},
    )
    service = service_adapter.validate_python(given_)
    assert service_adapter.validate_python(service.model_dump(mode="json")) == service


def test_a_service_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValidationError):
        Canary.model_validate(MINIMAL).replicas = 5  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_editors_accept_the_examples(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), service_schema())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_editors_accept_what_is_loaded_and_dumped(strategy: str) -> None:
    schema = service_schema()
    jsonschema.validate(minimal(strategy, **FULL), schema)
    jsonschema.validate(
        service_adapter.validate_python(minimal(strategy, **FULL)).model_dump(mode="json"), schema
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "purple"},
        {"service": "Shop"},
        {"steps": [{"share": 101}]},
        {"steps": [{"share": "a few"}]},
        {"steps": [{"share": 5, "bake": "soon"}]},
        {"steps": []},
        {"router": {"port": 80}},
        {"fleet": {}},
        {"bakes": "1m"},
        {"analysis": {"limits": {"errors": {"max": 1}}}},
    ],
    ids=str,
)
def test_editors_mark_what_would_be_refused(wrong: dict[str, Any]) -> None:
    content = minimal("canary", **wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, service_schema())
    with pytest.raises(ValidationError):
        service_adapter.validate_python(content)


@st.composite
def rollings(draw: st.DrawFn) -> Rolling:
    replicas = draw(st.integers(1, 30))
    bound = st.one_of(st.integers(0, 30).map(str), st.integers(0, 100).map(lambda n: f"{n}%"))
    content = {"replicas": replicas, "max_surge": draw(bound), "max_unavailable": draw(bound)}
    try:
        return Rolling.model_validate(MINIMAL | content)
    except ValidationError:
        assume(False)  # noqa: FBT003 - how hypothesis is told
        raise


@given(rollings(), st.integers(1, 30))
def test_batches_stay_within_the_bounds_and_end_with_all_new(service: Rolling, running: int) -> None:
    surge, unavailable = service.bounds(running)
    old, new, share = running, 0, 0
    for batch in service.batches(running):
        assert batch.room <= old
        assert batch.room + new >= running - unavailable, "healthy while the old ones go"
        assert batch.room + batch.new <= running + surge, "all while the new ones come"
        assert batch.old + batch.new >= running - unavailable, "healthy at the end"
        assert share <= batch.moved <= batch.share, "shares grow"
        assert batch.room or batch.moved == 10_000, "no share stays on nothing"
        assert batch.share > share, "each batch moves something"
        old, new, share = batch.old, batch.new, batch.share
    assert (old, new, share) == (0, running, 10_000)


@given(rollings(), st.integers(1, 30))
def test_no_batch_takes_the_last_replica_before_a_new_one_answers(service: Rolling, running: int) -> None:
    assert service.batches(running)[0].room >= 1


@pytest.mark.parametrize(
    ("given_", "bounds"),
    [
        ({"replicas": 4}, (1, 1)),
        ({"replicas": 7}, (2, 1)),
        ({"replicas": 2}, (1, 0)),
        ({"replicas": 10, "max_surge": 0, "max_unavailable": 3}, (0, 3)),
        ({"replicas": 10, "max_surge": "100%", "max_unavailable": "0%"}, (10, 0)),
    ],
)
def test_percentages_round_surge_up_and_unavailable_down(
    given_: dict[str, Any], bounds: tuple[int, int]
) -> None:
    service = Rolling.model_validate(MINIMAL | given_)
    assert service.bounds(service.replicas) == bounds


def test_bounds_count_from_the_replicas_that_run() -> None:
    service = Rolling.model_validate(MINIMAL | {"replicas": 10})
    assert service.bounds(1) == (1, 0)
    assert [batch.room for batch in service.batches(1)] == [1]


def test_defaults_stand_in_the_schema_as_a_file_has_them() -> None:
    analysis = service_schema()["$defs"]["Analysis"]["properties"]
    assert (analysis["interval"]["default"], analysis["split_tolerance"]["default"]) == ("1s", 5)
