"""The nightly releases: a run of the flow, for the service files of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deployments.acts import bring_up
from deployments.prefect_api import FlowRun, create_run
from deployments.service_files import NIGHT, files_in, load
from tasks.domain.errors import FaultsError, InputError
from tasks.domain.nightly import Night, NightlyService
from tasks.domain.schedule import Schedule
from tasks.domain.spec import ServiceFile
from tasks.domain.versions import FileVersions, Versions

NAME = "davy"
"""Name of the deployment: ``nightly/davy``."""


def load_night(folder: Path) -> Night:
    """The night's configuration in a folder of service files; all defaults where there is none.

    Raises:
        InputError: No YAML, or a `FaultsError` with every field that is wrong; not retried.
    """
    path = folder / NIGHT
    if not path.exists():
        return Night()
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError("file", str(path), f"YAML that can be read: {error}") from error
    try:
        return Night.model_validate({} if content is None else content)
    except ValidationError as error:
        raise FaultsError(str(path), [_fault(one) for one in error.errors()]) from error


def _fault(detail: ErrorDetails) -> InputError:
    field = ".".join(str(part) for part in detail["loc"]) or "night"
    if detail["type"] == "extra_forbidden":
        return InputError(field, detail["input"], f"one of the keys {', '.join(sorted(Night.model_fields))}")
    found, _, expected = str(detail["ctx"]["error"] if "error" in detail.get("ctx", {}) else "").partition(
        ", expected "
    )
    inner = found.partition("found ")[0].strip().removesuffix(":")
    where = ".".join(part for part in (field, inner) if part)
    return InputError(where, detail["input"], expected or detail["msg"].removeprefix("Input should be "))


def start_night(folder: Path, *, say: Callable[[str], None]) -> FlowRun:
    """Start a night now, of all services in *folder* whose files have `versions`.

    Raises:
        InputError: A file is wrong, or none has `versions`; nothing was started; not retried.
        TransientError: The server stayed away; retried by the caller.
    """
    services = services_in(folder)
    parameters = {
        "services": [one.model_dump(mode="json") for one in services],
        "night": load_night(folder).model_dump(mode="json"),
    }
    bring_up(say)
    return create_run(f"nightly/{NAME}", parameters, key=f"nightly-{uuid4()}")


def services_in(folder: Path) -> list[NightlyService]:
    """The services of *folder* whose files say where their newest version is found.

    Raises:
        InputError: A file is wrong, or there is none; not retried.
    """
    if not folder.is_dir():
        raise InputError("folder", str(folder), "a folder with service files")
    loaded = [(path, load(path)) for path in files_in(folder)]
    found = [
        to_nightly(service, service.versions, None, path.parent)
        for path, service in loaded
        if service.versions
    ]
    if not found:
        raise InputError("folder", str(folder), "a service file with `versions`")
    return found


def to_nightly(
    service: ServiceFile, versions: Versions, schedule: Schedule | None, folder: Path
) -> NightlyService:
    """A service of the nightly releases.

    Args:
        folder: The service file's, from which a relative path of a version file counts.
    """
    if isinstance(versions, FileVersions):
        path = (folder / Path(versions.path).expanduser()).absolute()
        versions = versions.model_copy(update={"path": str(path)})
    return NightlyService(service=service.model_dump(mode="json"), versions=versions, schedule=schedule)
