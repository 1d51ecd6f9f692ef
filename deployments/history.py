"""`davy history`: past releases and DORA's figures, as a table, as JSON, or as a page in a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.history_runs import EndedRun
from deployments.prefect_api import run_url
from tasks.domain.errors import InputError
from tasks.domain.settings import settings
from tasks.domain.units import format_duration, parse_duration
from tasks.history import End, Entry, Figures, History, Index, history_of, rounded, undone_by

MANY = 500
"""From so many journals on, reading them takes long enough to be told before."""
CELL = 16
"""Characters of a service's or a version's name in a table."""
WIDE = 160
"""Columns from which on the releases' ids have room."""
COLUMNS = (
    *("promoted", "lead time", "change\nfailure rate", "time to\nrestore", "not\nrestored"),
    *("stopped", "withdrawn"),
)
LEGEND = """\
Times: median (90th percentile). Lead time: from the commit where it is known, else from the release's start.
Stopped: taken back before any user had it. Withdrawn: ended by a person, or by a newer release."""
COLOURS = {"Promoted": "green", "Tried": "green", "RolledBack": "red", "Failed": "red", "Frozen": "red"}


def read_history(
    service: str | None,
    since: str,
    *,
    rebuild: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> History:
    """What the journals tell, by the index.

    Args:
        service: None for all.
        since: How far back, as ``30d``.
        rebuild: Read every journal again.

    Raises:
        InputError: There is no such service, or no such span; not retried.
        TransientError: The index can't be written; retried by the caller.
    """
    until = datetime.now(UTC)
    began = until - _span(since)
    index = Index(settings().root / "history.sqlite", settings().journals)
    found = index.find(service, began, rebuild=rebuild, say=lambda number: _announce(number, say))
    if service is not None and service not in found.services:
        known = ", ".join(found.services) or "none was released here yet"
        raise InputError("service", service, f"a service with releases: {known}")
    return history_of(found, began, until)


def to_json(history: History, runs: Sequence[EndedRun] | None, limit: int) -> dict[str, Any]:
    """For ``--json``; ``runs_without_release`` is null where Prefect's server did not answer."""
    told = None if runs is None else [run.to_json() for run in runs[:limit]]
    return history.to_json(limit) | {"runs_without_release": told}


def write_page(history: History, file: Path) -> None:
    """Write the history as one HTML page; reports that lie beside it are linked.

    Raises:
        InputError: The file can't be written; not retried.
    """
    from tasks.report.history_page import Links, history_page  # noqa: PLC0415 - plots take a second to import

    links = {entry: Links(_report(entry, file), _run(entry)) for entry in history.entries}
    page = history_page(history, links)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError("page", str(file), f"a file that can be written ({error.strerror})") from error


def print_history(console: Console, history: History, runs: Sequence[EndedRun] | None, limit: int) -> None:
    """The newest *limit* releases, one in a line, newest first; then the figures.

    Args:
        runs: Those that ended before they opened a release; None where nobody knows.
    """
    shown = history.entries[:limit]
    if shown:
        console.print(_releases(console, shown, undone_by(history.entries)))
    for one in history.unreadable:
        console.print(f"[red]unreadable:[/] {escape(one.trouble)}", soft_wrap=True)  # the path stays whole
    for run in () if runs is None else runs[:limit]:
        subject = escape(" ".join(filter(None, (run.service, run.version))))
        line = f"[red]no release:[/] {run.ended:%m-%d %H:%M} {subject} {run.state}: {escape(run.message)}"
        console.print(line, no_wrap=True, overflow="ellipsis")
    if len(shown) < len(history.entries):
        console.print(f"[dim]{len(shown)} of {len(history.entries)} releases; more with --limit[/]")
    days = format_duration(history.overall.span)
    if history.is_empty:
        console.print(f"no releases ended in the last {days}")
        return
    console.print()
    console.print(_figures(history, days))
    console.print(f"[dim]{LEGEND}[/]")


def _releases(console: Console, entries: tuple[Entry, ...], undone: Collection[Entry]) -> Table:
    """One row for each.

    Args:
        undone: Those that a rollback took back later.
    """
    several, wide = len({entry.service for entry in entries}) > 1, console.width >= WIDE
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("began (UTC)", no_wrap=True)
    for name in (*(["service"] if several else []), "version", "strategy"):
        table.add_column(name, no_wrap=True, max_width=CELL, overflow="ellipsis")
    table.add_column("outcome", no_wrap=True)
    table.add_column("took", no_wrap=True, justify="right")
    table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=1)
    if wide:
        table.add_column("release", no_wrap=True)
    for entry in entries:
        names = [*([entry.service] if several else []), entry.version, entry.kind]
        took = rounded(entry.duration) if entry.duration is not None else ""
        why = entry.why or ("a rollback took it back later" if entry in undone else "")
        cells = [*map(escape, names), _outcome(entry), took, escape(why)]
        table.add_row(f"{entry.began:%m-%d %H:%M}", *cells, *([entry.release] if wide else []))
    return table


def _outcome(entry: Entry) -> str:
    outcome = str(entry.outcome or "under way")
    return f"[{COLOURS[outcome]}]{outcome}[/]" if outcome in COLOURS else outcome


def _figures(history: History, days: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(f"last {days}", max_width=CELL, overflow="fold")
    for name in COLUMNS:
        table.add_column(name, no_wrap=True)
    rows = dict(history.services) if len(history.services) == 1 else {**history.services, "": history.overall}
    for name, figures in rows.items():
        table.add_row(escape(name) or "[bold]all[/]", *_row(figures))
    return table


def _row(figures: Figures) -> tuple[str, ...]:
    restored = str(figures.restoring or "-"), str(figures.unrestored or "-")
    if not figures.releases:
        return "no releases", "-", "-", *restored, "-", "-"
    rate, failed = figures.failure_rate, figures.ends[End.FAILED]
    return (
        f"{figures.promoted} ({figures.per_week:.1f}/week)",
        str(figures.lead_time or "-"),
        "-" if rate is None else f"{100 * rate:.0f} % ({failed} of {figures.deployments})",
        *restored,
        str(figures.ends[End.STOPPED]),
        str(figures.ends[End.WITHDRAWN]),
    )


def _span(text: str) -> timedelta:
    """How far back.

    Raises:
        InputError: It is no duration, or none at all; not retried.
    """
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InputError("since", text, "a number with a unit, for example '30d'") from error
    if not found:
        raise InputError("since", text, "a duration longer than 0s")
    return found


def _announce(number: int, say: Callable[[str], None]) -> None:
    if number >= MANY:
        say(f"reading {number:,} journals into the index ...")


def _report(entry: Entry, page: Path) -> str:
    """The report of a release, where `davy report` has written it beside the page."""
    name = f"report-{entry.release}.html"
    return name if (page.parent / name).exists() else ""


def _run(entry: Entry) -> str:
    return run_url(entry.run) if entry.run else ""
