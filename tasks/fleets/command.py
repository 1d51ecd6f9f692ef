"""What runs one replica: a service file's command, environment and folder, filled in and checked."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from urllib.parse import quote

from tasks.domain.errors import InputError
from tasks.domain.model import Revision
from tasks.domain.parts import LocalFleet, Part
from tasks.domain.secrets import SecretPlace
from tasks.domain.spec import ServiceFile
from tasks.fleets.supervisor import Program

DAVYS = ("PREFECT_*", "DAVY_WEBHOOK_*", "DAVY_REGISTRY_*")
"""Variables with what Davy shows Prefect, senders of merges and registries: none of a service's business. A service
that uses Prefect itself says how in ``fleet.environment``."""


def hidden_from(service: ServiceFile) -> tuple[str, ...]:
    """Variables that a service's replicas don't inherit: Davy's own, and those that its file names as secrets.

    This keeps them out of a replica's error pages and logs. It is no wall: whoever runs as the same
    user can read the environment of the processes around it.
    """
    return (*DAVYS, *sorted(set(_named(service))))


def _named(value: object) -> Iterator[str]:
    """The variables that are named as secrets, at any depth."""
    if isinstance(value, SecretPlace):
        yield from (value.env,) if value.env else ()
    elif isinstance(value, Part):
        for name in type(value).model_fields:
            yield from _named(getattr(value, name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _named(one)
    elif isinstance(value, Mapping):
        yield from _named(tuple(value.values()))


def program_of(fleet: LocalFleet, revision: Revision, number: int, port: int) -> Program:
    """The program of replica *number* of *revision*, answering on *port*.

    The command is split into words before it is filled in, so a version cannot add words.

    Raises:
        InputError: A field cannot be filled in, or the folder or the executable does not
            exist; not retried.
    """
    values = {
        "port": str(port),
        "version": revision.version,
        "service": revision.service,
        "replica": str(number),
    }
    if not any("{port}" in text for text in (fleet.command, *fleet.environment.values())):
        raise InputError("fleet.command", fleet.command, "{port} in it, or in a value of fleet.environment")
    words = [_fill("fleet.command", word, values) for word in _split(fleet.command)]
    environment = {
        key: _fill(f"fleet.environment.{key}", value, values) for key, value in fleet.environment.items()
    }
    directory = Path(fleet.directory).absolute()
    if not directory.is_dir():
        raise InputError("fleet.directory", str(directory), "a folder that exists")
    executable = _find(words[0], directory, environment)
    return Program(
        name=program_name(revision, number, port),
        command=(executable, *words[1:]),
        stop_within=fleet.stop_within,
        environment=environment,
        directory=directory,
    )


def _split(command: str) -> list[str]:
    expected = "words as in a shell, the first one a program"
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError("fleet.command", command, expected) from error
    if not words:
        raise InputError("fleet.command", command, expected)
    return words


def _fill(field: str, template: str, values: Mapping[str, str]) -> str:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(
            field, template, "braces in pairs, and doubled where they stand for themselves"
        ) from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in values or form or conversion):
            choices = ", ".join(f"{{{choice}}}" for choice in values)
            raise InputError(
                field, f"{{{name}}}", f"one of {choices}; braces that stand for themselves are doubled"
            )
    return template.format_map(values)


def _find(word: str, directory: Path, environment: Mapping[str, str]) -> str:
    """The executable's absolute path; a relative path counts from *directory*, a name from PATH."""
    where = str(directory / word) if "/" in word else word
    found = shutil.which(where, path=environment.get("PATH"))
    if found is None:
        raise InputError("fleet.command", word, "a program that exists and may be executed")
    return os.path.abspath(found)  # noqa: PTH100 - keeps `..` and links as they are written


def program_name(revision: Revision, number: int, port: int) -> str:
    """A name that people can read, of characters that the supervisor can; the port makes it unique."""
    version = quote(revision.version, safe="").replace("%", "=")[:60]
    return f"{revision.service}--{revision.slot}--{version}--{number}--{port}"
