"""The runner: carries out the flow runs of one queue, each in a process of its own.

``python -m deployments.runner releases`` serves the strategies and the rollback;
``python -m deployments.runner way-back`` serves only the compensating flow and people's acts, so
that no number of releases can keep them waiting.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow, get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events import AutomationCore, DeploymentEventTrigger, EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState
from prefect.exceptions import PrefectException
from prefect.runner import Runner
from prefect.states import AwaitingRetry
from prefect.types.entrypoint import EntrypointType

from deployments.deploy_served import keep_serving
from deployments.prefect_api import TAG
from deployments.warm import keep_warm
from flows.act import act
from flows.blue_green import blue_green
from flows.blue_green_canary import blue_green_canary
from flows.canary import canary
from flows.nightly import nightly
from flows.restore import way_back
from flows.rollback import rollback
from flows.rolling import rolling
from tasks.domain.model import Outcome
from tasks.journal import all_journals, read_lease
from tasks.record import Record

NAME = "davy"
"""Name of each flow's deployment: ``canary/davy``."""
LOOK = 5.0
"""Seconds between two looks for releases that wait to be resumed."""
POLL = 0.5
"""Seconds between two looks for new flow runs."""
LOST = ["Crashed", "Failed", "TimedOut", "Cancelled"]
"""Names of the states in which a run leaves its release to others."""
STUCK = timedelta(seconds=60)
"""How long a run may be Cancelling before its release is taken back without it."""
SILENT = timedelta(seconds=90)
"""Three heartbeats: a run not heard of for so long has crashed with its runner."""

log = logging.getLogger("prefect.davy")

RELEASES: tuple[Flow[..., Any], ...] = (rolling, blue_green, canary, blue_green_canary, rollback)


async def release_deployments() -> list[RunnerDeployment]:
    """A deployment of each flow that carries releases, and of the one that starts them by night."""
    night = await nightly.ato_deployment(NAME, entrypoint_type=EntrypointType.MODULE_PATH)
    return [
        night,
        *[
            await flow.ato_deployment(NAME, tags=[TAG], entrypoint_type=EntrypointType.MODULE_PATH)
            for flow in RELEASES
        ],
    ]


async def way_back_deployments() -> list[RunnerDeployment]:
    """The compensating flow, started by automations when a release's run is lost, and people's acts."""
    about_releases: dict[str, Any] = {
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"},
        "for_each": {"prefect.resource.id"},
        "parameters": {
            "run": "{{ event.resource.id }}",
            "state": "{{ event.resource['prefect.state-name'] }}",
            "parameters": {
                "__prefect_kind": "json",
                "value": {"__prefect_kind": "jinja", "template": "{{ flow_run.parameters | tojson }}"},
            },
        },
    }
    lost = DeploymentEventTrigger(
        name="a release's run was lost", expect=_events(LOST), posture=Posture.Reactive, **about_releases
    )
    stuck = DeploymentEventTrigger(
        name="a release's run is stuck in Cancelling",
        after=_events(["Cancelling"]),
        expect=_events([*LOST, *Outcome]),
        posture=Posture.Proactive,
        within=STUCK,
        **about_releases,
    )
    made = await way_back.ato_deployment(
        NAME, triggers=[lost, stuck], entrypoint_type=EntrypointType.MODULE_PATH
    )
    return [made, await act.ato_deployment(NAME, entrypoint_type=EntrypointType.MODULE_PATH)]


def zombies() -> AutomationCore:
    """Marks a run as crashed that has no heartbeat any more, its runner having died with it."""
    over = [*LOST, *Outcome, "Completed"]
    return AutomationCore(
        name="davy: a release's run without heartbeat has crashed",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"},
            for_each={"prefect.resource.id"},
            after=_events(["heartbeat"]),
            expect=_events(["heartbeat", *over]),
            posture=Posture.Proactive,
            within=SILENT,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="no heartbeat any more")],
    )


def _events(names: Sequence[str]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


async def resume_crashed(client: PrefectClient, run: UUID) -> None:
    """Let a crashed run begin again; its journal says where it goes on."""
    state = (await client.read_flow_run(run)).state
    if state and state.is_crashed():
        await client.set_flow_run_state(run, AwaitingRetry(), force=True)


async def serve(queue: str) -> None:
    """Register the queue's deployments and carry out their runs until the process is ended."""
    await server_answers()
    keep_warm()
    runner = Runner(name=f"davy-{queue}", query_seconds=POLL, limit=None, pause_on_shutdown=False)
    if queue == "way-back":
        await _replace(zombies())
    for deployment in await (way_back_deployments() if queue == "way-back" else release_deployments()):
        await runner.aadd_deployment(deployment)
    async with asyncio.TaskGroup() as tasks:
        beside = tasks.create_task(look_for_crashed() if queue == "way-back" else keep_serving(runner))
        await runner.start()
        beside.cancel()


async def server_answers() -> None:
    """Wait for Prefect's server, which starts more slowly than its runners."""
    async with get_client() as client:
        while await client.api_healthcheck() is not None:  # noqa: ASYNC110 - it tells nobody when it is there
            await asyncio.sleep(POLL)


async def look_for_crashed() -> None:
    """Resume releases that wait for it, also where the event that should have told was lost."""
    over: set[Path] = set()
    while True:
        await asyncio.sleep(LOOK)
        async with get_client() as client:
            for run in waiting_to_be_resumed(over):
                try:
                    await resume_crashed(client, UUID(run))
                except (httpx.HTTPError, PrefectException) as error:
                    log.warning("flow run %s: %s; looking again", run, error)


def waiting_to_be_resumed(over: set[Path]) -> list[str]:
    """Flow runs of releases that nobody carries and that are to be resumed, not taken back.

    Args:
        over: Journals of releases that have ended; grows, so that each is read once.
    """
    found = []
    for journal in all_journals():
        if journal.path in over or not journal.exists():
            continue
        record = Record.read(journal)
        if record.ended:
            over.add(journal.path)
        held = read_lease(record.service.service)
        waits = record.service.on_crash == "resume" and not (
            record.ended or record.reverting or record.abort_asked
        )
        if waits and record.run and not (held and held.alive):
            found.append(record.run)
    return found


async def _replace(automation: AutomationCore) -> None:
    async with get_client() as client:
        for old in await client.read_automations_by_name(automation.name):
            await client.delete_automation(old.id)
        await client.create_automation(automation)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
