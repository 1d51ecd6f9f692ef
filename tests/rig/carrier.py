"""Carries out the releases that a night asks for, on Prefect's real server, as their services are told to go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Failed, Running

from tasks.domain.model import Outcome, Revision, Slot
from tasks.domain.spec import service_adapter
from tasks.journal import Journal, journal_of
from tasks.record import Opening

REFUSED = "Refused"
"""How a run ends that fails before its release begins."""


@dataclass
class Carrier:
    """What it carries out, and how.

    Attributes:
        stable: The version that users of a service are on; a release that is promoted changes it.
        ends: How a service's releases end, where not well.
        took: Seconds that a release takes.
        begun: Releases in the order in which they began.
        most: How many ran at the same time, at most.
    """

    stable: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    took: float = 0.05
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    most: int = 0
    halted: bool = False
    deployments: list[UUID] = field(default_factory=list)
    _running: dict[UUID, tuple[FlowRun, float]] = field(default_factory=dict)

    def revision(self, service: str) -> Revision | None:
        """What users of *service* are on."""
        return Revision(service, Slot.BLUE, self.stable[service]) if service in self.stable else None

    def open(self, service: dict[str, object], version: str, release: str) -> Journal:
        """Begin a release's journal."""
        read = service_adapter.validate_python(service)
        journal = journal_of(read.service, release)
        opening = Opening("rolling", read, version, self.revision(read.service), 2)
        journal.append("opened", epoch=1, **opening.to_json())
        return journal

    def look(self, client: SyncPrefectClient) -> None:
        """Begin what is scheduled, end what has run its time."""
        wanted = {"state": {"type": {"any_": ["SCHEDULED"]}}, "deployment_id": {"any_": self.deployments}}
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted)):
            self._begin(client, run)
        self.most = max(self.most, len(self._running))
        for run, began in list(self._running.values()):
            if time.monotonic() - began > self.took:
                self._end(client, run)

    def _begin(self, client: SyncPrefectClient, run: FlowRun) -> None:
        service = run.parameters["service"]
        name = service["service"]
        client.set_flow_run_state(run.id, Running(), force=True)
        self.begun.append(name)
        if self.ends.get(name) == REFUSED:
            self.ended.append(name)
            client.set_flow_run_state(run.id, Failed(message=f"{name}: found no port"), force=True)
            return
        self.open(service, run.parameters["version"], run.parameters["release"])
        self._running[run.id] = run, time.monotonic()

    def _end(self, client: SyncPrefectClient, run: FlowRun) -> None:
        name, version = run.parameters["service"]["service"], run.parameters["version"]
        outcome = self.ends.get(name, str(Outcome.PROMOTED))
        message = f"{name} {outcome}: {version}"
        self.ended.append(name)
        if outcome == Outcome.PROMOTED:
            self.stable[name] = version
        journal_of(name, run.parameters["release"]).append("ended", outcome=outcome, message=message)
        state: State[None] = (Completed if outcome == Outcome.PROMOTED else Failed)(
            name=outcome, message=message
        )
        client.set_flow_run_state(run.id, state, force=True)
        del self._running[run.id]

    def runs(self) -> list[str]:
        """The services that have flow runs, one for each run."""
        wanted = {"deployment_id": {"any_": self.deployments}}
        with get_client(sync_client=True) as client:
            found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))
        return sorted(run.parameters["service"]["service"] for run in found)


@contextmanager
def carrying(*names: str) -> Iterator[Carrier]:
    """Carry out runs of deployments of these names (``rolling/davy``), which are made and removed."""
    carrier = Carrier()
    stop = threading.Event()
    with get_client(sync_client=True) as client:
        for name in names:
            flow, _, deployment = name.partition("/")
            carrier.deployments.append(
                client.create_deployment(client.create_flow_from_name(flow), deployment)
            )

    def go_on() -> None:
        with get_client(sync_client=True) as client:
            while not stop.wait(0.1):
                if not carrier.halted:
                    carrier.look(client)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield carrier
    finally:
        stop.set()
        thread.join()
        with get_client(sync_client=True) as client:
            for made in carrier.deployments:
                client.delete_deployment(made)
