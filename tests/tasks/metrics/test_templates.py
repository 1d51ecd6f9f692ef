"""A config's queries must become the text that its authors expect."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.errors import InputError
from tasks.metrics.templates import Scope, expand_query, expand_template

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VECTORS = Path(os.environ.get("SHARED", Path(__file__).parents[4] / "shared")) / "kayenta/vectors.json"


def scope(name: str = "shop-canary", location: str = "", /, **extended: str) -> Scope:
    return Scope(name, location, NOW, NOW + timedelta(hours=1), timedelta(minutes=1), extended)


def vectors(*kinds: str) -> list[Any]:
    """The shared figures of these kinds, as parameters of a test."""
    if not VECTORS.exists():
        skip = pytest.mark.skip(reason=f"needs {VECTORS.name}; its folder's parent is $SHARED or ../shared")
        return [pytest.param({}, marks=skip)]
    found = json.loads(VECTORS.read_text())["vectors"]
    return [pytest.param(one, id=one["id"]) for one in found if one["kind"] in kinds]


def asked(vector: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, str], Scope]:
    """Query, templates and scope of a shared figure."""
    given = vector["inputs"]["scope"]
    extended = {name: str(value) for name, value in (given.get("extendedScopeParams") or {}).items()}
    bound = scope(given.get("scope") or "", given.get("location") or "", **extended)
    return vector["inputs"]["query"], vector["inputs"].get("templates", {}), bound


@pytest.mark.parametrize("vector", vectors("prometheus_query", "datadog_query"))
def test_the_shared_figures_of_queries(vector: Mapping[str, Any]) -> None:
    label = vector["params"].get("scopeLabel", "instance")
    assert expand_query(*asked(vector), label) == vector["expected"]["query"]


@pytest.mark.parametrize("vector", vectors("expand_custom_filter"))
def test_the_shared_figures_of_templates(vector: Mapping[str, Any]) -> None:
    if "error" in vector["expected"]:
        with pytest.raises(InputError, match=r"\$\{\w"):
            expand_template(*asked(vector))
    else:
        assert expand_template(*asked(vector)) == vector["expected"]["value"]


def test_later_bindings_win_and_empty_ones_bind_nothing() -> None:
    query = {
        "type": "prometheus",
        "location": "of the query",
        "resourceType": "",
        "customInlineTemplate": "PromQL:${scope} ${location} ${resourceType}",
    }
    bound = scope("of the scope", "of the scope", scope="of the parameters", resourceType="pod")
    assert expand_query(query, {}, bound) == "of the parameters of the query pod"


def test_a_value_is_never_expanded_again() -> None:
    query = {"type": "prometheus", "customInlineTemplate": "PromQL:${scope}"}
    assert expand_query(query, {}, scope("${location}", "eu")) == "${location}"


def test_an_inline_template_wins_over_a_named_one() -> None:
    query = {"type": "datadog", "customInlineTemplate": "inline", "customFilterTemplate": "named"}
    assert expand_query(query, {"named": "named"}, scope()) == "inline"


def test_an_average_is_grouped_by_its_fields() -> None:
    query = {
        "type": "prometheus",
        "metricName": "errors",
        "labelBindings": ['job="shop"'],
        "groupByFields": ["zone", "pod"],
        "customFilterTemplate": "of",
    }
    templates = {"of": 'version="${scope}",track="x"'}
    expected = 'avg(errors{version="shop-canary",track="x",job="shop"}) by (zone,pod)'
    assert expand_query(query, templates, scope()) == expected


def test_machines_of_a_project() -> None:
    query = {"type": "prometheus", "metricName": "cpu", "resourceType": "gce_instance"}
    text = expand_query(query, {}, scope("shop-canary", "us-east1", project="shops"), "name")
    assert text == 'avg(cpu{name=~"shop-canary-.{4}",zone=~".+/projects/shops/zones/us-east1-.{1}"})'


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"type": "atlas"}, r"query\.type: found 'atlas', expected prometheus or datadog"),
        ({}, r"query\.type: found None"),
        ({"type": "datadog"}, r"query\.metricName: found None"),
        ({"type": "prometheus", "customInlineTemplate": "a=1"}, r"query\.metricName: found None"),
        ({"type": "prometheus", "customFilter": "a=1"}, r"query\.customFilter: found 'a=1'"),
        (
            {"type": "prometheus", "customFilterTemplate": "gone"},
            r"query\.customFilterTemplate: found 'gone'",
        ),
        (
            {"type": "prometheus", "customInlineTemplate": "PromQL:${gone}"},
            r"found '\$\{gone\}', expected .*scope",
        ),
        ({"type": "prometheus", "customInlineTemplate": "PromQL:${location}"}, r"\$\{location\}"),
        ({"type": "prometheus", "metricName": "cpu"}, r"query\.resourceType: found None"),
        ({"type": "prometheus", "metricName": "cpu", "resourceType": "pod"}, r"resourceType: found 'pod'"),
        ({"type": "prometheus", "metricName": "cpu", "resourceType": "gce_instance"}, r"location: found ''"),
    ],
)
def test_what_cannot_be_built_is_refused_by_field(query: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        expand_query(query, {}, scope())
