"""The form of a service's deployment in Prefect's UI: a JSON Schema, and the text above it.

The version comes first, then what may be changed for one run, with the service file's values as
defaults, then who starts it. Titles and descriptions are those of `tasks.domain.changes`; types and
bounds are the strategy's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.domain.changes import OF_STRATEGY
from tasks.domain.gates import place_of
from tasks.domain.spec import BlueGreen, BlueGreenCanary, Canary, Rolling, ServiceFile
from tasks.domain.units import format_duration, format_share
from tasks.domain.versions import FileVersions, OciVersions

EXAMPLE = "1.4.2"
"""A version where the service file gives none away."""
LENGTH = 128
"""Of a version and of a name, at most: what a tag of an image may have."""
DURATION = "A number with a unit: 30s, 5m, 2h."
NONE: Mapping[str, Any] = {}
NOT_ZERO = "^(?=.*[1-9])"
"""At the beginning of a pattern: there is a digit other than 0."""
SHARE = "Percent of live requests, at most two decimals: 5 or 2.5."


def form_of(service: ServiceFile) -> dict[str, Any]:
    """The parameter schema of the service's deployment."""
    fields = {
        "version": _version(service),
        "changes": _changes(service),
        "starter": _starter(service),
    }
    return {
        "title": "Parameters",
        "type": "object",
        "properties": _in_order(fields),
        "required": ["version"],
    }


def _version(service: ServiceFile) -> dict[str, Any]:
    example = example_of(service)
    return {
        "title": "Version",
        "description": f"Which version of {service.service} to release, without spaces, such as {example}.",
        "type": "string",
        "minLength": 1,
        "maxLength": LENGTH,
        "pattern": r"^\S+$",
        "examples": [example],
    }


def _starter(service: ServiceFile) -> dict[str, Any]:
    gates = service.gates
    approvers = ", ".join(gates.approvers) if gates else ""
    asked = (
        f", as the approvers have it ({approvers}); without it a gate needs two approvals" if gates else ""
    )
    return {
        "title": "Started by",
        "description": f"Your name{asked}. It is recorded.",
        "type": "string",
        "maxLength": LENGTH,
        "default": "",
        "examples": [gates.approvers[0] if gates else "ann"],
    }


def example_of(service: ServiceFile) -> str:
    """A version such as the service's own."""
    source = service.versions
    if isinstance(source, OciVersions) and source.tag:
        return f"sha256:{'0123456789abcdef' * 4}"
    if isinstance(source, FileVersions) and Path(source.path).is_file():
        lines = Path(source.path).read_text(errors="replace").splitlines()
        return (lines[0].strip() if lines else "") or EXAMPLE
    return EXAMPLE


def _changes(service: ServiceFile) -> dict[str, Any]:
    """What may be changed, each with the service file's value as its default."""
    model = OF_STRATEGY[strategy_of(service)]
    own = type(service).model_json_schema(mode="serialization")
    said = service.model_dump(mode="json")
    fields = {}
    for name in _by_weight(model.model_fields):
        words, schema = model.model_fields[name], own["properties"][name]
        titled = {"title": words.title, "description": _described(words.description or "", schema)}
        fields[name] = _filled(_field(schema, own["$defs"]) | titled, said[name])
    return {
        "title": "For this run only",
        "description": "What the service file says stands here; what you change counts for this run alone.",
        "type": "object",
        "properties": _in_order(fields),
        "additionalProperties": False,
    }


def _filled(field: dict[str, Any], value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The field with a default; one that has parts gets it part by part, as the form sets it."""
    if "properties" not in field:
        return field | {"default": value}
    parts = {name: part | {"default": value[name]} for name, part in field["properties"].items()}
    return field | {"properties": parts}


def _by_weight(names: Iterable[str]) -> list[str]:
    """The strategy's own fields first, then what all strategies have."""
    common = OF_STRATEGY["rolling"].__base__.model_fields  # type: ignore[union-attr]
    return sorted(names, key=lambda name: (name in common, name not in ("steps", "trickle")))


def _field(schema: dict[str, Any], definitions: Mapping[str, Any] = NONE) -> dict[str, Any]:
    """A field's schema as the form can show it: no references, one type each, no object as a default."""
    schema = {key: value for key, value in schema.items() if key not in ("description", "default", "title")}
    if "$ref" in schema:
        return _step(definitions[schema["$ref"].rpartition("/")[2]])
    if "items" in schema:
        return schema | {"items": _step(definitions[schema["items"]["$ref"].rpartition("/")[2]])}
    if _unit(schema) == DURATION:
        return schema | {"pattern": schema["pattern"].replace("^", NOT_ZERO, 1)}
    if "anyOf" in schema:  # a number may be typed as text
        text: dict[str, Any] = schema["anyOf"][0]
        return text | {"examples": [str(one) for one in schema["examples"]]}
    return schema


def _step(schema: dict[str, Any]) -> dict[str, Any]:
    fields = {
        name: _field(field)
        | {"title": field["title"], "description": _described(_own_words(field), field)}
        | ({"default": field["default"]} if "default" in field else {})
        | ({"minimum": 0.01} if field["type"] == "number" else {})
        for name, field in schema["properties"].items()
    }
    return {key: schema[key] for key in ("title", "type", "required", "additionalProperties")} | {
        "properties": _in_order(fields)
    }


def _own_words(field: dict[str, Any]) -> str:
    """The description of a field, where it says more than its unit."""
    return "" if field["type"] == "number" else str(field.get("description", ""))


def _described(words: str, field: dict[str, Any]) -> str:
    return " ".join(filter(None, [words, _unit(field)]))


def _unit(field: dict[str, Any]) -> str:
    if field.get("type") == "number":
        return SHARE
    return DURATION if field.get("pattern", "").endswith("(ms|s|m|h|d)$") else ""


def _in_order(fields: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The fields with the positions that the form sorts them by."""
    return {name: field | {"position": number} for number, (name, field) in enumerate(fields.items())}


def strategy_of(service: ServiceFile) -> str:
    """The name of the service's strategy, which is its flow's, too."""
    return str(service.strategy)  # type: ignore[attr-defined]


def description_of(service: ServiceFile) -> str:
    """What the deployment's page says, as markdown."""
    name, strategy = service.service, strategy_of(service)
    parts = [
        f"Releases a version of **{name}** by {strategy}; one that turns out worse is taken back by itself.",
        "\n".join(f"{number}. {line}" for number, line in enumerate(_course(service), start=1)),
        _gates(service),
        f"To stop it: cancel the run, or `davy abort {name}`. Users then go back to the old version.",
    ]
    return "\n\n".join(filter(None, parts))


def _course(service: ServiceFile) -> list[str]:
    """What happens, in order."""
    match service:
        case Rolling():
            room = f"up to {service.max_surge} more, {service.max_unavailable} fewer"
            return [
                f"replicas are replaced batch by batch ({room}), each watched for {format_duration(service.bake)}"
            ]
        case Canary():
            held = [f"{format_share(one.share)} for {format_duration(one.bake)}" for one in service.steps]
            return [
                *held,
                _last(service.watch) if service.promote else "then it is removed: it is only tried",
            ]
        case BlueGreenCanary():
            trickle = service.trickle
            return [
                f"{format_share(trickle.share)} for {format_duration(trickle.bake)}, at full size beside the old one",
                _last(service.watch),
            ]
        case BlueGreen():
            return ["full size beside the old version, without users", _last(service.watch)]
        case _:
            return []


def _last(watch: Any) -> str:  # noqa: ANN401
    return f"100%, watched for {format_duration(watch)}"


def _gates(service: ServiceFile) -> str:
    if service.gates is None:
        return ""
    places = ", ".join(place_of(point) for point in service.gates.at)
    names = ", ".join(service.gates.approvers)
    return f"Waits for an approval {places}, by {names}; for {format_duration(service.gates.within)} at most."
