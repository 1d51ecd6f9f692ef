"""What differs between the deployments that a folder asks for and those that the server has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

MISSING = object()
SECTIONS = ("entrypoint", "work_pool_name", "tags", "parameters")
"""What is told in words; text and form follow from it, and from Davy's own version."""


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
        for line in _changes(section, _plain(found, section), wanted.content.get(section))
    ]
    told += _changes("schedule", _starts(found), _starts(wanted.content))
    if not told:
        shown = (("description", "text"), ("parameter_openapi_schema", "form"))
        told = [word for key, word in shown if found[key] != wanted.content[key]]
    return Difference("~" if told else "=", wanted.full_name, tuple(told), found)


def _plain(found: dict[str, Any], section: str) -> Any:  # noqa: ANN401 - JSON
    return sorted(found[section]) if section == "tags" else found[section]


def _starts(content: dict[str, Any]) -> dict[str, str]:
    """When a deployment starts by itself."""
    crons = [one["schedule"] for one in content.get("schedules", ())]
    return {f"{one['cron']} {one['timezone']}": "on" for one in crons}


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
    return path.removeprefix("parameters.").removeprefix("service.").replace("work_pool_name", "pool")


def _said(value: object) -> str:
    return "none" if value in (MISSING, None) else str(value)
