"""What differs between the deployments that a folder asks for and those that the server has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

MISSING = object()
SECTIONS = ("entrypoint", "work_pool_name", "tags", "schedules", "parameters")
"""What is told value by value."""
UNTOLD = {
    "parameters": "parameters",
    "description": "text",
    "parameter_openapi_schema": "form",
    "pull_steps": "where the code is",
}
"""What is told by its name, where nothing else changed: it follows from the rest, and from Davy's own version."""
NOTHING_PULLED = [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
"""The steps of a pool's worker before a run: it has the code in the folder that it starts in, as the image has.
Without any step, Prefect copies that whole folder for each run."""


@dataclass(frozen=True)
class Wanted:
    """A deployment that a folder asks for.

    Attributes:
        content: As the server takes it, without its flow.
    """

    flow: str
    name: str
    content: dict[str, Any]

    @property
    def full_name(self) -> str:
        """As the UI and the command line know it."""
        return f"{self.flow}/{self.name}"


@dataclass(frozen=True)
class Difference:
    """What is done with one deployment.

    Attributes:
        action: ``+`` it is made, ``~`` changed, ``-`` removed, ``=`` left as it is.
        changes: Each thing that changes: ``steps.0.bake 30s -> 1m``.
        found: As the server has it; None where it has none.
    """

    action: Literal["+", "~", "-", "="]
    deployment: str
    changes: tuple[str, ...] = ()
    found: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"action": self.action, "deployment": self.deployment, "changes": list(self.changes)}

    def __str__(self) -> str:
        told = f": {', '.join(self.changes)}" if self.changes else ""
        return f"{self.action} {self.deployment}{told}{' unchanged' if self.action == '=' else ''}"


def difference(wanted: Wanted, found: dict[str, Any] | None) -> Difference:
    """What is done to bring *found*, as the server has it, to *wanted*."""
    if found is None:
        return Difference("+", wanted.full_name)
    told = [
        line
        for section in SECTIONS
        for line in _changes(section, _plain(section, found), _plain(section, wanted.content))
    ]
    if not told:
        told = [word for key, word in UNTOLD.items() if found[key] != wanted.content[key]]
    return Difference("~" if told else "=", wanted.full_name, tuple(told), found)


def _plain(section: str, content: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """A section as its changes are told."""
    value = content.get(section)
    if section == "tags":
        return sorted(value or ())
    if section == "schedules":  # when it starts by itself
        crons = [one["schedule"] for one in value or ()]
        return "; ".join(sorted(f"{one['cron']} {one['timezone']}" for one in crons)) or None
    if section == "parameters" and value and "services" in value:  # a night's, by their names
        return value | {"services": {one["service"]["service"]: one["service"] for one in value["services"]}}
    return value


def _changes(name: str, before: Any, after: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Each value that differs, by its path."""
    old, new = dict(_flat(before, name)), dict(_flat(after, name))
    paths = dict.fromkeys([*old, *new])
    return [
        f"{_short(path)} {_said(old.get(path, MISSING))} -> {_said(new.get(path, MISSING))}"
        for path in paths
        if old.get(path, MISSING) != new.get(path, MISSING)
    ]


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value:
        return [leaf for key, one in value.items() for leaf in _flat(one, f"{path}.{key}")]
    if isinstance(value, list) and value:
        return [leaf for number, one in enumerate(value) for leaf in _flat(one, f"{path}.{number}")]
    return [] if value in ({}, []) else [(path, value)]


def _short(path: str) -> str:
    """The path as the service file has it."""
    names = {"work_pool_name": "pool", "schedules": "schedule"}
    return names.get(path) or re.sub(r"^parameters\.(service\.|services\.)?", "", path)


def _said(value: object) -> str:
    return "none" if value in (MISSING, None) else str(value)
