"""`davy deploy`: each service file of a folder as a deployment on Prefect, with a form for its runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deployments import prefect_api
from deployments.deploy_difference import NOTHING_PULLED, Difference, Wanted, difference
from deployments.deploy_form import description_of, form_of, strategy_of
from deployments.deploy_night import night_of
from deployments.prefect_api import MADE, TAG
from deployments.service_files import files_in, load
from tasks.domain.errors import FaultsError, InputError
from tasks.domain.spec import ServiceFile

OWN = "davy"
"""Name of the flows' own deployments, which no service or folder can have here."""


def folder_tag(folder: Path) -> str:
    """Tag of what was made from a folder, by the folder's name: checkouts of one folder lie at different places."""
    return f"{MADE}:{folder.resolve().name}"


def wanted_in(folder: Path, pool: str | None = None) -> list[Wanted]:
    """The deployments that a folder's service files ask for.

    Raises:
        InputError: No folder, no service file, two files of one service, or a `FaultsError` with every
            fault of every file; not retried.
    """
    loaded = load_all(folder)
    tags = sorted([MADE, folder_tag(folder)])
    wanted = [
        Wanted(
            strategy_of(service),
            service.service,
            {
                "name": service.service,
                "entrypoint": entrypoint_of(strategy_of(service)),
                "parameters": {"service": service.model_dump(mode="json")},
                "parameter_openapi_schema": form_of(service),
                "enforce_parameter_schema": True,
                "description": description_of(service),
                "tags": sorted([*tags, TAG]),
                "work_pool_name": pool,
                "pull_steps": NOTHING_PULLED if pool else None,
            },
        )
        for service in loaded.values()
    ]
    return [*wanted, *night_of(folder, loaded, tags, pool)]


def entrypoint_of(flow: str) -> str:
    """Where a strategy's flow is found, by module."""
    module = flow.replace("-", "_")
    return f"flows.{module}.{module}"


def load_all(folder: Path) -> dict[Path, ServiceFile]:
    """Every service file of a folder.

    Raises:
        InputError: As `wanted_in` says; not retried.
    """
    if not folder.is_dir():
        raise InputError("folder", str(folder), "a folder with service files")
    loaded: dict[Path, ServiceFile] = {}
    faults: list[InputError] = []
    for path in files_in(folder):
        try:
            loaded[path] = load(path)
        except FaultsError as error:
            faults += [
                InputError(f"{path.name}: {one.field}", one.found, one.expected) for one in error.faults
            ]
        except InputError as error:
            faults.append(error)
    if faults := [*faults, *_clashes(loaded)]:
        raise FaultsError(str(folder), faults)
    if not loaded:
        raise InputError("folder", str(folder), "a folder with service files")
    return loaded


def _clashes(loaded: dict[Path, ServiceFile]) -> list[InputError]:
    """Names that cannot be deployed together."""
    found: dict[str, Path] = {}
    faults = []
    for path, service in loaded.items():
        name = service.service
        if name == OWN:
            faults.append(InputError(f"{path.name}: service", name, "another name than Davy's own"))
        elif name in found:
            faults.append(InputError(f"{path.name}: service", name, f"not the one of {found[name].name}"))
        found.setdefault(name, path)
    return faults


def differences(folder: Path, wanted: Sequence[Wanted]) -> list[Difference]:
    """What is done with each deployment of the folder, and with those that it made earlier.

    Raises:
        InputError: The server has a deployment of such a name that `davy deploy` did not make; not retried.
        TransientError: The server stayed away; retried by the caller.
    """
    there = {
        f"{one['flow']}/{one['name']}": one for one in prefect_api.deployments_tagged(folder_tag(folder))
    }
    found: list[Difference] = []
    for one in wanted:
        known = there.pop(one.full_name, None) or prefect_api.read_deployment(one.flow, one.name)
        if known and MADE not in known["tags"]:
            raise InputError(one.full_name, "a deployment that davy deploy did not make", "none of that name")
        found.append(difference(one, known))
    gone = [Difference("-", name, found=one) for name, one in sorted(there.items())]
    return [*found, *gone]


def check_pool(pool: str | None) -> None:
    """Make sure that the work pool exists.

    Raises:
        InputError: It does not; not retried.
        TransientError: The server stayed away; retried by the caller.
    """
    if pool and pool not in (pools := prefect_api.work_pools()):
        listed = f"one of {', '.join(pools)}" if pools else "an existing work pool; there is none"
        raise InputError("pool", pool, listed)


def carry_out(
    wanted: Sequence[Wanted], found: Sequence[Difference], *, remove: Callable[[list[str]], bool]
) -> list[Difference]:
    """Make, change, and after asking remove; what is unchanged is not touched.

    Args:
        remove: Asked once with the names of what would be removed.

    Returns:
        What was done.

    Raises:
        PermanentError: The server refuses one; not retried.
        TransientError: The server stayed away; retried by the caller.
    """
    gone = [one for one in found if one.action == "-"]
    removed = gone if gone and remove([one.deployment for one in gone]) else []
    for one in removed:
        _delete(one)
    by_name = {one.full_name: one for one in wanted}
    for one in found:
        if one.action in ("+", "~"):
            _write(by_name[one.deployment], one)
    return [one for one in found if one not in gone or one in removed]


def _write(wanted: Wanted, difference: Difference) -> None:
    """Make or change one; a schedule that was paused in the UI stays so.

    The server leaves a deployment in its pool that names none, so that such a one is made anew.
    """
    found, content = difference.found or {}, wanted.content
    if found.get("work_pool_name") and content["work_pool_name"] is None:
        _delete(difference)
    paused = {one["slug"] for one in found.get("schedules", ()) if not one["active"]}
    starts = [one | {"active": one["slug"] not in paused} for one in content.get("schedules", ())]
    prefect_api.write_deployment(wanted.flow, content | {"schedules": starts})


def _delete(difference: Difference) -> None:
    if difference.found:
        prefect_api.delete_deployment(difference.found["id"])
