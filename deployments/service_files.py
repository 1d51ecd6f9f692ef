"""Read a service file, and say what is wrong with it: every field, what was found, what is expected."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.domain.errors import FaultsError, InputError
from tasks.domain.kubernetes import KubernetesFleet
from tasks.domain.parts import LocalFleet, Part
from tasks.domain.spec import BlueGreen, BlueGreenCanary, Canary, Rolling, ServiceFile, service_adapter

STRATEGIES: dict[str, type[ServiceFile]] = {
    "rolling": Rolling,
    "blue-green": BlueGreen,
    "canary": Canary,
    "blue-green-canary": BlueGreenCanary,
}

SUFFIXES = (".yaml", ".yml")
NIGHT = "night.yaml"
"""How the releases of a night are let loose, beside the service files."""


def files_in(folder: Path) -> list[Path]:
    """The service files of a folder, sorted; its `NIGHT` is none.

    Raises:
        OSError: The folder can't be read; not retried.
    """
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name != NIGHT)


def load(path: Path) -> ServiceFile:
    """Read a service file; a relative working directory counts from the file's folder.

    Raises:
        InputError: No such file, no YAML, or a `FaultsError`; not retried.
    """
    content = _with_canary_config(_content(path), path.parent)
    strategy = content.get("strategy")
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        fault = InputError("strategy", strategy, f"one of {', '.join(STRATEGIES)}")
        raise FaultsError(str(path), [fault])
    try:
        service = service_adapter.validate_python(content)
    except ValidationError as error:
        model = STRATEGIES[strategy]
        raise FaultsError(str(path), [_fault(model, one) for one in _first_words(error)]) from error
    return service.model_copy(update={"fleet": _from_its_folder(service.fleet, path.parent)})


def _from_its_folder(fleet: LocalFleet | KubernetesFleet, folder: Path) -> LocalFleet | KubernetesFleet:
    """The fleet with paths that count from the service file's folder made absolute."""
    if isinstance(fleet, LocalFleet):
        return fleet.model_copy(update={"directory": str((folder / fleet.directory).resolve())})
    update: dict[str, object] = {"config": tuple(str((folder / one).absolute()) for one in fleet.config)}
    if fleet.kubeconfig:
        update["kubeconfig"] = str((folder / Path(fleet.kubeconfig).expanduser()).absolute())
    return fleet.model_copy(update=update)


def _with_canary_config(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content with the canary config itself where the file has its path.

    Raises:
        InputError: No such file, no JSON, or not a config that its judge accepts; not retried.
    """
    analysis = content.get("analysis")
    if not isinstance(analysis, dict) or not isinstance(canary := analysis.get("canary"), dict):
        return content
    if not isinstance(canary.get("config"), str):
        return content
    path = folder / canary["config"]
    config = read_json(path, "analysis.canary.config")
    from tasks.judge.canary_config import read_config  # noqa: PLC0415 - few service files have one

    try:
        read_config(config, strict=canary.get("judge") != "kayenta")
    except InputError as error:
        faults = error.faults if isinstance(error, FaultsError) else [error]
        raise FaultsError(str(path), faults) from error
    return content | {"analysis": {**analysis, "canary": {**canary, "config": config}}}


def read_json(path: Path, field: str) -> Any:  # noqa: ANN401 - whatever it holds
    """Read a JSON file that a *field* names.

    Raises:
        InputError: It can't be read, or is no JSON; not retried.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise InputError(field, str(path), f"a file that can be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(field, str(path), f"JSON: {error}") from error


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        expected = f"a file that can be read ({error.strerror})"
        raise InputError("file", str(path), expected) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        expected = f"YAML: {error}"
        raise InputError("file", str(path), expected) from error
    if not isinstance(content, dict):
        expected = "YAML with keys such as 'service' and 'strategy'"
        raise InputError("file", type(content).__name__, expected)
    return content


def _first_words(error: ValidationError) -> list[ErrorDetails]:
    """The errors, less those that only follow from another one inside the same value."""
    details = error.errors()
    deeper = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(
            len(loc) > len(detail["loc"]) and loc[: len(detail["loc"])] == detail["loc"] for loc in deeper
        )
    ]


def _fault(model: type[ServiceFile], detail: ErrorDetails) -> InputError:
    loc = detail["loc"][1:]
    field = ".".join(str(part) for part in _without_kinds(loc) if part != "[key]") or "service file"
    if detail["type"] == "missing":
        return InputError(field, None, "a value")
    if detail["type"] == "extra_forbidden":
        return InputError(field, detail["input"], _known_keys(model, loc))
    if detail["type"] == "union_tag_invalid":
        kinds = detail["ctx"]["expected_tags"].replace("'", "")
        return InputError(f"{field}.kind", detail["ctx"]["tag"], f"one of {kinds}")
    if detail["type"] == "value_error":
        return _said(field, detail)
    expected = re.sub(r"^(Input|String) should (be )?", "", detail["msg"]).replace("'", "")
    return InputError(field, detail["input"], f"to {expected}" if expected.startswith("match") else expected)


KIND_OF_NOTICE = 2
"""Where pydantic says the kind, behind ``notify`` and a number."""


def _without_kinds(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """*loc* as a file has it: which kind of a part was chosen is no key."""
    if len(loc) > 1 and loc[0] in ("fleet", "router", "versions"):
        return loc[0], *loc[2:]
    if len(loc) > KIND_OF_NOTICE and loc[0] == "notify":
        return *loc[:KIND_OF_NOTICE], *loc[KIND_OF_NOTICE + 1 :]
    return loc


def _said(field: str, detail: ErrorDetails) -> InputError:
    """What one of our own validators says: ``[field: ]found X, expected Y``."""
    text = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
    before, _, expected = text.partition(", expected ")
    inner, _, found = before.rpartition("found ")
    inner = inner.strip().removesuffix(":")
    where = inner if field == "service file" and inner else ".".join(part for part in (field, inner) if part)
    return InputError(where, _Verbatim(found), expected)


class _Verbatim(str):
    """Text that is shown as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _known_keys(model: type[Part], loc: tuple[int | str, ...]) -> str:
    """Which keys there are where an unknown one stood, the likely one first."""
    known = _keys_at(model, loc[:-1])
    close = get_close_matches(str(loc[-1]), known, n=1, cutoff=0.65)
    return f"no such key; did you mean {close[0]!r}?" if close else f"one of the keys {', '.join(known)}"


def _keys_at(model: type[Part], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the part that *loc* leads to."""
    here: Any = model.model_json_schema()
    definitions = here.get("$defs", {})
    for part in loc:
        if isinstance(part, int):
            here = here.get("items", here)
        elif "oneOf" in here:
            here = next(one for one in _options(here, definitions) if _is_kind(one, part))
        else:
            here = here.get("properties", {}).get(part, here.get("additionalProperties", {}))
        here = next(iter(_options(here, definitions)), here) if "oneOf" not in here else here
    return sorted(here.get("properties", {}))


def _options(schema: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The models that *schema* stands for, in its order."""
    options = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    return [definitions[one["$ref"].rpartition("/")[2]] for one in options if "$ref" in one]


def _is_kind(schema: dict[str, Any], kind: str) -> bool:
    return bool(schema["properties"].get("kind", {}).get("const") == kind)
