"""What `davy plan` and `davy status` print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.changes import changes_of, print_changes
from tasks.detectable import remedy, sights
from tasks.domain.errors import DavyError
from tasks.domain.model import Health
from tasks.domain.plan import Plan, plan_of
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.domain.units import format_duration, format_share
from tasks.fleets import open_fleet
from tasks.opening import preflight
from tasks.record import Record
from tasks.release import Release
from tasks.routers import open_router
from tasks.step_acts import StepActs, promoted_by, step_now
from tasks.turns import recent

if TYPE_CHECKING:
    from tasks.judge.sight import Sight


def print_plan(console: Console, service: ServiceFile, version: str, *, as_json: bool) -> None:
    """Print each step with its share, bake and replicas; nothing is touched.

    Raises:
        InputError: The service file or the version would be refused.
    """
    stable, replicas = preflight(service, version)
    plan = plan_of(service, replicas, first=stable is None)
    before = stable.version if stable else None
    seen = sights(service, stable, plan) if stable else []
    changes = changes_of(Release("plan", service, version, stable, replicas), plan)
    if as_json:
        found = _plan_json(service, before, version, plan, seen) | {"changes": list(map(asdict, changes))}
        print(json.dumps(found))  # noqa: T201
        return
    console.print(f"[bold]{service.service}[/]: {escape(before or 'nothing')} → [bold]{escape(version)}[/]")
    columns = ("step", "share", "bake", "replicas", *(["sees"] if seen else []))
    table = Table(*columns, box=None, header_style="dim")
    for step in plan.steps:
        of_it = "\n".join(_sight_in_words(sight) for sight in seen if sight.step == step)
        cells = (step.what, format_share(step.share), format_duration(step.bake), str(step.replicas))
        table.add_row(*cells, *([of_it or "limits only"] if seen else []))
    console.print(table)
    limits = ", ".join(sorted(service.analysis.limits)) or "nothing"
    console.print(
        f"bakes {format_duration(plan.duration)} in all, at most {plan.surge} replicas at once, judged by {limits}"
    )
    for sight in seen:
        if sight.is_blind:
            warning = f"{sight.metric} detect {sight.detect:g}: expected {remedy(sight)}"
            console.print(f"[yellow]![/] {escape(warning)}")
    print_changes(console, changes)


def _sight_in_words(sight: Sight) -> str:
    """From where on the step sees a worse candidate, with the traffic of now."""
    if sight.usual is None:
        return f"{sight.metric}: no traffic to tell from"
    now = f"{sight.metric} {sight.usual:.3g} {sight.unit}"
    if sight.smallest is None:
        return f"{now} → nothing with this traffic"
    return f"{now} → {sight.smallest:.3g} {sight.unit} or more"


def _plan_json(
    service: ServiceFile, before: str | None, version: str, plan: Plan, seen: Sequence[Sight]
) -> dict[str, Any]:
    steps = [
        {
            "what": step.what,
            "share": step.share / 100,
            "bake_seconds": step.bake.total_seconds(),
            "replicas": step.replicas,
            "sees": [_sight_json(sight) for sight in seen if sight.step == step],
        }
        for step in plan.steps
    ]
    return {
        "service": service.service,
        "stable": before,
        "version": version,
        "steps": steps,
        "bake_seconds": plan.duration.total_seconds(),
        "replicas_at_most": plan.surge,
    }


def _sight_json(sight: Sight) -> dict[str, Any]:
    return {
        "metric": sight.metric,
        "unit": sight.unit,
        "usual": sight.usual,
        "smallest": sight.smallest,
        "detect": sight.detect,
        "bake_seconds_needed": sight.bake.total_seconds() if sight.bake else None,
    }


@dataclass(frozen=True)
class ServiceStatus:
    """One service now.

    Attributes:
        split: The live split in words.
        replicas: Healthy and all, by revision.
        release: The newest release and how far it is.
    """

    service: str
    split: str
    replicas: dict[str, str]
    release: str
    state: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "service": self.service,
            "split": self.split,
            "replicas": self.replicas,
            "release": self.release,
            "state": self.state,
        }


def print_status(console: Console, *, as_json: bool) -> None:
    """Print every service that has a journal."""
    folders = sorted(path for path in settings().journals.glob("*") if path.is_dir())
    found = [status for path in folders if (status := status_of(path.name))]
    if as_json:
        print(json.dumps([status.to_json() for status in found]))  # noqa: T201
        return
    if not found:
        console.print("No service was released here yet.")
        return
    table = Table("service", "live", "replicas", "last release", "state", box=None, header_style="dim")
    for status in found:
        replicas = ", ".join(f"{name} {count}" for name, count in status.replicas.items())
        table.add_row(*map(escape, (status.service, status.split, replicas, status.release, status.state)))
    console.print(table)


def status_of(service: str) -> ServiceStatus | None:
    """The status of one service; None when it was never released."""
    records = recent(service)
    if not records:
        return None
    record = records[0]
    try:
        split = str(open_router(record.service).live() or "none")
        replicas = _replicas(record)
    except DavyError as trouble:
        split, replicas = f"unknown ({trouble})", {}
    return ServiceStatus(service, split, replicas, record.release, _state(record))


def _replicas(record: Record) -> dict[str, str]:
    observed = open_fleet(record.service).observe()
    counts: dict[str, str] = {}
    for revision in sorted({replica.revision for replica in observed}):
        of_it = [replica for replica in observed if replica.revision == revision]
        healthy = sum(replica.health is Health.HEALTHY for replica in of_it)
        counts[f"{revision.slot}@{revision.version}"] = f"{healthy}/{len(of_it)} healthy"
    return counts


def _state(record: Record) -> str:
    if record.outcome:
        return str(record.outcome)
    if record.reverting:
        return f"going back: {record.reverting.data['reason']}"
    if record.gate:
        until = record.gate.until(record.decisions).astimezone()
        return f"waits at gate {record.gate.point} until {until:%d %b %H:%M} for {', '.join(record.gate.terms.approvers)}"
    steps = record.all("intent")
    return f"under way: {steps[-1].key if steps else 'beginning'}{_said(record)}"


def _said(record: Record) -> str:
    """Who had the rest skipped, or what was said last in the step of now."""
    last = [said for _, said in StepActs(record, step_now(record.lines)).said][-1:]
    told = promoted_by(record) or (last[0] if last else None)
    return f" ({told.act} by {told})" if told else ""
