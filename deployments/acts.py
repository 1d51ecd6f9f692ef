"""What a person can do to releases: start one, abort one, roll a service back."""

from __future__ import annotations

import getpass
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments import prefect_api, stack
from deployments.supervisor import supervisor_is_up
from tasks import acts, approval
from tasks.domain.gates import Choice, Decision
from tasks.domain.model import Outcome
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.fleets import open_fleet
from tasks.journal import Journal, journal_of
from tasks.opening import preflight, promoted_last
from tasks.record import Record
from tasks.turns import refuse_second, under_way

ABORT_WITHIN = timedelta(seconds=10)
"""How long the watcher has to begin an abort; after that the command does it by itself."""


@dataclass(frozen=True)
class Started:
    """A release that was asked for.

    Attributes:
        run: Its flow run in Prefect.
        url: The run's page.
    """

    release: str
    service: str
    version: str
    run: str
    url: str

    @property
    def journal(self) -> Journal:
        """Its journal, which exists once the flow has begun."""
        return journal_of(self.service, self.release)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class Ended:
    """How a release ended."""

    release: str
    outcome: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def start_release(service: ServiceFile, version: str, *, say: Callable[[str], None]) -> Started:
    """Check everything that can be checked, bring up what is missing, and start the flow.

    Raises:
        InputError: Something in the service file or the version is wrong; nothing was touched.
        ConflictError: Another release of the service is under way.
    """
    bring_up(say)
    if service.on_conflict == "reject" or under_way(service.service) is None:
        preflight(service, version)
    else:  # the rest can only be looked at once that one has ended
        open_fleet(service).check(version)
    release = new_id(service.service, version)
    parameters = {
        "service": service.model_dump(mode="json"),
        "version": version,
        "release": release,
        "starter": user(),
    }
    run = prefect_api.create_run(f"{service.strategy}/davy", parameters, key=release)  # type: ignore[attr-defined]
    return Started(release, service.service, version, run.id, prefect_api.run_url(run.id))


def start_rollback(service: str, *, say: Callable[[str], None]) -> Started:
    """Start the flow that goes back to the previous version.

    Raises:
        InputError: There is no previous version.
        ConflictError: A release of the service is under way.
    """
    refuse_second(service)
    previous = promoted_last(service).stable
    bring_up(say)
    version = previous.version if previous else ""
    release = new_id(service, f"back-{version}")
    run = prefect_api.create_run("rollback/davy", {"service": service, "release": release}, key=release)
    return Started(release, service, version, run.id, prefect_api.run_url(run.id))


def abort(service: str, by: str, reason: str = "") -> Ended:
    """Take back the service's release that is under way; return when it has ended.

    The watcher does it; where no watcher does, this process does.

    Raises:
        InputError: No release of the service is under way.
    """
    journal = journal_of(service, acts.release_of(service, or_frozen=True).release)
    acts.abort(journal, by=by, reason=reason, within=ABORT_WITHIN)
    return ended(Record.read(journal))


def decide(service: str, choice: Choice, *, by: str, reason: str, held_for: timedelta) -> Decision:
    """Say something at the gate that the service's release waits at; recorded as claimed.

    Args:
        held_for: With ``hold``, how much longer to wait.

    Raises:
        InputError: No release of the service is under way, or the decision would not count; not retried.
        ConflictError: It waits at no gate; not retried.
    """
    journal = journal_of(service, running_release(service).release)
    return approval.decide(journal, choice, by=by, reason=reason, held_for=held_for)


def running_release(service: str) -> Record:
    """The release of the service that has not ended.

    Raises:
        InputError: There is none; not retried.
    """
    return acts.release_of(service)


def ended(record: Record) -> Ended:
    """How a release ended, in words."""
    if record.frozen or record.ended is None:
        return Ended(record.release, "", "has not ended yet; see 'davy status'")
    if record.outcome is Outcome.FROZEN:
        return Ended(record.release, Outcome.ABORTED, "the frozen release was taken back")
    return Ended(record.release, str(record.outcome), f"{record.outcome}: {record.ended.data['message']}")


def bring_up(say: Callable[[str], None]) -> None:
    """Start the embedded stack where it does not run, or wait for it where it is slow to answer, and say so."""
    if stack.is_up():
        return
    if supervisor_is_up():
        say("The stack is slow to answer; it is waited for.")
        stack.up(lambda _line: None)
    else:
        say("No stack is running here, so it is started (end it with 'davy down').")
        stack.up(lambda line: say(f"  {line}"))


def new_id(service: str, version: str) -> str:
    """An id for a release that people can read and that no other has."""
    slug = re.sub(r"[^a-z0-9.]+", "-", version.lower()).strip("-.")[:40]
    return f"{service}-{slug}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def user() -> str:
    """The name of the person at this terminal, as the system knows it."""
    try:
        return getpass.getuser()
    except OSError:
        return f"somebody at {settings().root}"
