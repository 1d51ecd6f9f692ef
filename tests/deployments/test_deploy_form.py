"""The form of a service's deployment: what it shows, what it refuses, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from deployments.deploy_form import description_of, example_of, form_of
from tasks.domain.changes import OF_STRATEGY
from tasks.domain.spec import ServiceFile, service_adapter

BASE = {"service": "shop", "fleet": {"command": "serve"}, "router": {"port": 8080}}
STRATEGIES = list(OF_STRATEGY)


def service(strategy: str, **more: object) -> ServiceFile:
    return service_adapter.validate_python(BASE | {"strategy": strategy} | more)


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """What the form holds when it opens."""
    return {
        name: filled(field) if "properties" in field else field["default"]
        for name, field in schema["properties"].items()
        if "properties" in field or "default" in field
    }


def refused(form: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    return [error.json_path for error in Draft202012Validator(form).iter_errors(parameters)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_form_opens_with_the_service_file_s_values_and_accepts_them(strategy: str) -> None:
    made = service(strategy)
    form = form_of(made)
    Draft202012Validator.check_schema(form)
    assert list(form["properties"]) == ["version", "changes", "starter"]
    assert form["required"] == ["version"]
    opened = filled(form)
    assert opened["changes"] == {name: made.model_dump(mode="json")[name] for name in opened["changes"]}
    assert set(opened["changes"]) == set(OF_STRATEGY[strategy].model_fields)
    assert not refused(form, opened | {"version": "1.1"})
    assert not refused(form, {"version": "1.1"})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_field_has_a_title_a_position_and_one_type_and_says_what_it_is(strategy: str) -> None:
    def look(fields: dict[str, Any]) -> None:
        assert sorted(one["position"] for one in fields.values()) == list(range(len(fields)))
        for one in fields.values():
            assert one["title"]
            assert one["description"]
            assert isinstance(one["type"], str)
            assert not {"anyOf", "oneOf", "$ref", "allOf", "const"} & set(one)
            look(one.get("properties", {}))
            look(one.get("items", {}).get("properties", {}))

    look(form_of(service(strategy))["properties"])


@pytest.mark.parametrize(
    ("strategy", "changes", "field"),
    [
        ("canary", {"watch": "5x"}, "watch"),
        ("canary", {"watch": "0s"}, "watch"),
        ("canary", {"watch": ""}, "watch"),
        ("canary", {"steps": []}, "steps"),
        ("canary", {"steps": [{"share": 0, "bake": "1m"}]}, "steps[0].share"),
        ("canary", {"steps": [{"share": 101, "bake": "1m"}]}, "steps[0].share"),
        ("canary", {"steps": [{"share": 5, "bake": "soon"}]}, "steps[0].bake"),
        ("canary", {"steps": [{"bake": "1m"}]}, "steps[0]"),
        ("canary", {"on_conflict": "wait"}, "on_conflict"),
        ("canary", {"on_failure": "stop"}, "on_failure"),
        ("canary", {"promote": "perhaps"}, "promote"),
        ("rolling", {"max_surge": "a few"}, "max_surge"),
        ("rolling", {"bake": "1"}, "bake"),
        ("blue-green", {"watch": "-1s"}, "watch"),
        ("blue-green-canary", {"trickle": {"share": 5, "bake": "0.0s"}}, "trickle.bake"),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(strategy: str, changes: dict[str, Any], field: str) -> None:
    form = form_of(service(strategy))
    assert refused(form, {"version": "1.1", "changes": changes}) == [f"$.changes.{field}"]


def test_an_unknown_thing_to_change_is_refused() -> None:
    form = form_of(service("canary"))
    assert refused(form, {"version": "1.1", "changes": {"bake": "5m"}}) == ["$.changes"]


@pytest.mark.parametrize("version", ["", " ", "1.1 beta", "1.1\t", "x" * 129])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    assert set(refused(form_of(service("canary")), {"version": version})) == {"$.version"}


def test_durations_and_shares_say_their_units() -> None:
    changes = form_of(service("canary"))["properties"]["changes"]["properties"]
    assert "30s, 5m, 2h" in changes["watch"]["description"]
    step = changes["steps"]["items"]["properties"]
    assert "Percent of live requests" in step["share"]["description"]
    assert "30s, 5m, 2h" in step["bake"]["description"]


def test_the_version_s_example_is_such_as_the_service_has(tmp_path: Path) -> None:
    newest = tmp_path / "newest"
    versions = {"kind": "file", "path": str(newest)}
    assert example_of(service("canary", versions=versions)) == "1.4.2"
    newest.write_text("2026.11.3\n")
    assert example_of(service("canary", versions=versions)) == "2026.11.3"
    moving = {"kind": "oci", "image": "registry.example.com/shop", "tag": "latest"}
    assert example_of(service("canary", versions=moving)).startswith("sha256:")


def test_the_description_says_what_happens_and_how_to_stop_it() -> None:
    gates = {"at": ["25%", "promotion"], "approvers": ["ann", "bob"], "within": "2h"}
    steps = [{"share": 25, "bake": "90s"}, {"share": 50, "bake": "5m"}]
    said = description_of(service("canary", gates=gates, steps=steps, watch="1h"))
    assert "1. 25% for 90s\n2. 50% for 5m\n3. 100%, watched for 1h" in said
    assert "before more than 25% of the traffic, before all traffic, by ann, bob; for 2h at most" in said
    assert "davy abort shop" in said


def test_who_starts_it_is_asked_with_the_approvers_names() -> None:
    gates = {"approvers": ["ann", "bob"]}
    starter = form_of(service("canary", gates=gates))["properties"]["starter"]
    assert "ann, bob" in starter["description"]
    assert starter["examples"] == ["ann"]
