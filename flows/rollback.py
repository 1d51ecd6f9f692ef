"""Rollback: back to the previous version after a release has ended well."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.carry import carry_out, id_of_run, prepare
from tasks.domain.model import Outcome
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of
from tasks.opening import file_of, promoted_last
from tasks.promotion import retire_later
from tasks.provision import provision
from tasks.record import Record
from tasks.release import Release
from tasks.traffic import switch_to


@flow(name="rollback", flow_run_name="{service}-rollback")
def rollback(service: str, release: str = "") -> State[None]:
    """Send all of *service*'s traffic back to the version before the last promoted one.

    Where that still runs (`scale_down_delay`), it is one switch.

    Args:
        release: The rollback's own id; empty for one made from the flow run's.
    """
    release = release or id_of_run(service)
    journal = journal_of(service, release)
    if journal.exists():  # it is gone on with, and goes where it went when it began
        begun = Record.read(journal).opening
        return carry_out(switch_back, "rollback", begun.service, begun.version, release)
    last = promoted_last(service)
    previous = last.stable.version if last.stable else ""
    file = file_of(service, previous) or last.service
    return carry_out(switch_back, "rollback", file, previous, release)


def switch_back(release: Release, service: ServiceFile) -> Outcome:
    """The previous version at full size, then all traffic at once; it is known, so it is not judged."""
    prepare(release)
    provision(release, release.successor, release.replicas)
    switch_to(release, release.successor)
    retire_later(release, release.old, service.abort_scale_down_delay)
    return Outcome.PROMOTED
