"""When Prefect's server would start runs of a cron: its own planning, on a database of its own.

``python tests/rig/planned_runs.py DATABASE CRON ZONE START...`` prints a line for each start: the times of four days,
in UTC. The database has Prefect's tables.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{sys.argv[1]}"

from prefect.server.database import provide_database_interface
from prefect.server.models import deployments, flow_runs, flows
from prefect.server.schemas.core import Deployment, DeploymentSchedule, Flow
from prefect.server.schemas.schedules import CronSchedule


async def plan(cron: CronSchedule, start: datetime) -> str:
    """Let the server's scheduler plan the runs of one deployment."""
    database = provide_database_interface()
    schedule = DeploymentSchedule(schedule=cron, active=True)
    async with database.session_context(begin_transaction=True) as session:
        flow = await flows.create_flow(session, Flow(name="nightly"))
        made = await deployments.create_deployment(
            session, Deployment(name=start.isoformat(), flow_id=flow.id, schedules=[schedule])
        )
        assert made
        planned = await deployments.schedule_runs(
            session, made.id, start_time=start, end_time=start + timedelta(days=4), min_runs=4
        )
        runs = [await flow_runs.read_flow_run(session, run) for run in planned]
    times = sorted(run.expected_start_time.astimezone(UTC) for run in runs if run and run.expected_start_time)
    return ", ".join(f"{at:%d %H:%M}" for at in times)


async def main(cron: str, zone: str, *starts: str) -> None:
    """Print each start's times."""
    for start in starts:
        planned = await plan(CronSchedule(cron=cron, timezone=zone), datetime.fromisoformat(start))
        sys.stdout.write(f"{planned}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[2:]))
    sys.stdout.flush()
    os._exit(0)  # the database's own threads would be waited for
