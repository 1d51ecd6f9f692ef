"""The verbs of a night: look at a service, ask for its release, see how it went, show the report."""

from __future__ import annotations

from datetime import UTC, date, datetime

import httpx
from prefect import get_client, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectException, PrefectHTTPStatusError
from prefect.utilities.urls import url_for
from pydantic import ValidationError

from tasks.domain.errors import DavyError, InputError, PermanentError, TransientError
from tasks.domain.nightly import NightlyService
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.domain.versions import SEMVER, FileVersions
from tasks.journal import journal_of
from tasks.nights.book import NightRecord
from tasks.nights.choice import Choice, choose, release_id
from tasks.nights.entry import Decision, Entry
from tasks.nights.history import busy, taken_back
from tasks.nights.report import headline, markdown_of
from tasks.opening import find_stable
from tasks.record import Record
from tasks.step import reading
from tasks.versions import Found, open_versions

SHARED = "davy"
"""The deployment of a strategy that is every service's, where a service has none of its own."""


@reading("look-at-{service.name}")
def look(service: NightlyService, night: date) -> Entry:
    """Find the service's newest version and decide what to do with it; touches nothing.

    Raises:
        TransientError: Its source, its fleet or its router does not answer; retried.
        PermanentError: One of them refuses, or the journals are broken; not retried.
    """
    source = open_versions(service.versions)
    if reason := busy(service.name):
        found = source.newest("")
        return _entry(service.name, night, found, "", (Decision.LEAVE_OUT, reason))
    revision, _ = find_stable(read_service(service))
    stable = revision.version if revision else ""
    found = source.newest(stable)
    before = taken_back(service.name, found.version) if found else None
    pattern = SEMVER if isinstance(service.versions, FileVersions) else service.versions.pattern
    return _entry(service.name, night, found, stable, choose(found, stable, before, pattern))


def _entry(name: str, night: date, found: Found | None, stable: str, choice: Choice) -> Entry:
    decision, reason = choice
    return Entry(
        service=name,
        decision=decision,
        reason=reason,
        stable=stable,
        found=found.version if found else "",
        digest=found.digest if found else "",
        release=release_id(name, found, night) if found and decision is Decision.RELEASE else "",
    )


def read_service(service: NightlyService) -> ServiceFile:
    """The service file in its own model.

    Raises:
        InputError: A field of it is wrong; not retried.
    """
    try:
        return service_adapter.validate_python(service.service)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in (service.name, *first["loc"][1:]))
        raise InputError(field, first["input"], first["msg"]) from error


@reading("{entry.service}")
def ask_for_release(entry: Entry, service: NightlyService) -> Entry:
    """Start the flow run that releases the service; the same entry never starts two.

    Raises:
        TransientError: Prefect's server does not answer; retried.
        PermanentError: It knows no deployment of the strategy, or refuses the parameters; not retried.
    """
    parameters = {"service": service.service, "version": entry.found, "release": entry.release}
    try:
        with get_client(sync_client=True) as client:
            deployment = _deployment(client, service)
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters=parameters, idempotency_key=entry.release
            )
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        msg = f"{entry.service}: Prefect's server answered {status} to the release, expected a flow run"
        busy = status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS
        raise (TransientError if busy else PermanentError)(msg) from error
    except httpx.HTTPError as error:
        msg = f"{entry.service}: Prefect's server gave {type(error).__name__}, expected a flow run"
        raise TransientError(msg) from error
    return entry.model_copy(update={"run": str(run.id), "url": url_for("flow-run", obj_id=run.id) or ""})


def _deployment(client: SyncPrefectClient, service: NightlyService) -> DeploymentResponse:
    """The service's own deployment, or its strategy's shared one.

    Raises:
        PermanentError: There is neither; not retried.
    """
    strategy = service.service["strategy"]
    names = (f"{strategy}/{service.name}", f"{strategy}/{SHARED}")
    for name in names:
        try:
            return client.read_deployment_by_name(name)
        except ObjectNotFound:
            continue
    msg = f"{service.name}: found no deployment {' or '.join(names)}, expected one"
    raise PermanentError(msg)


def how_it_went(entry: Entry) -> Entry | None:
    """The entry with its release's end; None while that goes on, or nobody can say."""
    journal = journal_of(entry.service, entry.release)
    try:
        if journal.exists():
            ended = Record.read(journal).ended
            return entry.over(ended.at, ended.data["outcome"], ended.data["message"]) if ended else None
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(entry.run).state  # type: ignore[arg-type]  # it takes text, too
    except ObjectNotFound:
        return entry.over(datetime.now(UTC), "Gone", "its flow run was deleted before it began")
    except (DavyError, PrefectException, httpx.HTTPError) as error:
        get_run_logger().warning("%s: %s; looking again", entry.service, error)
        return None
    if state is None or not state.is_final() or journal.exists():
        return None
    return entry.over(
        datetime.now(UTC), state.name or state.type, state.message or "ended before its release began"
    )


def show_night(record: NightRecord) -> None:
    """The report among the run's artifacts. A server that is away changes nothing."""
    try:
        create_markdown_artifact(key="nightly", description=headline(record), markdown=markdown_of(record))
    except Exception as error:  # noqa: BLE001 - the night has ended, whatever the server has
        get_run_logger().warning("The night's report could not be written to Prefect: %s", error)
