"""What a release will make and change, for `davy plan`: asked of fleet and router, which touch nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape

from tasks.domain.model import Change, Revision
from tasks.domain.plan import Plan
from tasks.domain.spec import Canary, ServiceFile
from tasks.domain.units import WHOLE
from tasks.fleets import open_fleet
from tasks.release import Release
from tasks.routers import open_router

COLOURS = {"+": "green", "-": "red", "@": "dim"}
"""Of a diff's lines, by their first character."""


def changes_of(release: Release, plan: Plan) -> list[Change]:
    """Every object that is known before: the revisions' and the route's.

    Raises:
        PermanentError: One would be refused.
        TransientError: Fleet or router do not answer.
    """
    fleet, router = open_fleet(release.service), open_router(release.service)
    found = [
        one for revision, replicas in revisions(release, plan) for one in fleet.changes(revision, replicas)
    ]
    return [*found, *(router.changes() if release.stable else ())]


def revisions(release: Release, plan: Plan) -> Iterator[tuple[Revision, int]]:
    """What will run beside stable, and how many replicas of it."""
    service: ServiceFile = release.service
    if release.stable and isinstance(service, Canary):
        first = plan.steps[0]
        small = max(1, -(-first.share * release.replicas // WHOLE))
        yield release.candidate, small
        if service.has_baseline(service.steps[0].share):
            yield release.baseline, small
        if not service.promote:
            return
    yield release.successor, release.replicas


def print_changes(console: Console, changes: Sequence[Change]) -> None:
    """Each object with its diff."""
    for change in changes:
        beside = f", like {escape(change.like)} but for" if change.like else ""
        console.print(f"\n[bold]{change.action}[/] {escape(change.subject)}{beside}")
        for line in change.diff.splitlines():
            colour = COLOURS.get(line[:1])
            console.print(f"  [{colour}]{escape(line)}[/]" if colour else f"  {escape(line)}", soft_wrap=True)
