"""Read a service file, and say what is wrong with it: every field, what was found, what is expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.domain.errors import FaultsError, InputError
from tasks.domain.faults import faults_of
from tasks.domain.kubernetes import KubernetesFleet
from tasks.domain.parts import LocalFleet
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
        raise FaultsError(str(path), faults_of(STRATEGIES[strategy], error)) from error
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
