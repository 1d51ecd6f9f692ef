"""Follow a release live: its steps as they happen, and who gets how much of what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from deployments import prefect_api
from deployments.acts import Started, abort, user
from tasks.acts import meaning
from tasks.domain.errors import ConflictError, DavyError, InputError
from tasks.domain.model import Outcome, Slot, Split, Window
from tasks.domain.plan import plan_of
from tasks.domain.units import format_share
from tasks.journal import Line
from tasks.record import Record, decision_of
from tasks.step_acts import said_in

CODES = {
    Outcome.PROMOTED: 0,
    Outcome.TRIED: 0,
    Outcome.ROLLED_BACK: 3,
    Outcome.REJECTED: 4,
    Outcome.ABORTED: 4,
    Outcome.SUPERSEDED: 4,
}
REFUSED = 2
OTHER = 1
POLL = 0.25
RATES = timedelta(seconds=5)
"""Over how long the rates that are shown are counted."""
SECOND_CTRL_C = 5.0
"""Seconds in which a second Ctrl-C aborts."""


def follow(started: Started, console: Console, *, as_json: bool = False) -> int:
    """Show a release until it ends; return the exit code that says how.

    Ctrl-C lets go of it; another one soon after aborts it.
    """
    if not as_json:
        console.print(f"[bold]{started.release}[/]  {started.url}", soft_wrap=True)
    try:
        record = _watch(started, console, quiet=as_json)
    except KeyboardInterrupt:
        return _let_go(started, console)
    return _conclude(started, record, console, as_json=as_json)


def _watch(started: Started, console: Console, *, quiet: bool) -> Record | None:
    """Show each event once; None when the run ended before the release had begun."""
    shown = 0
    with Live(console=console, refresh_per_second=4, transient=True, auto_refresh=not quiet) as live:
        while True:
            journal = started.journal
            record = Record.read(journal) if journal.exists() else None
            if record is None:
                live.update(Text("waiting for the runner to take it up" if not quiet else ""))
            if record is None and prefect_api.read_run(started.run).over and not journal.exists():
                return None
            if record and not quiet:
                for line in record.lines[shown:]:
                    for text in _words(record, line):
                        console.print(f"[dim]{line.at.astimezone():%H:%M:%S}[/] {text}", soft_wrap=True)
                shown = len(record.lines)
                live.update(_picture(record) if console.is_terminal else Text(""))
            if record and record.ended:
                return record
            time.sleep(POLL)


def _words(record: Record, line: Line) -> Iterator[str]:
    """What a line of the journal means to the person who follows it."""
    data = line.data
    match line.kind:
        case "opened":
            old = record.opening.stable.version if record.opening.stable else "nothing"
            yield f"{record.opening.kind}: {escape(old)} → [bold]{escape(record.opening.version)}[/]"
        case "carried":
            yield f"[yellow]carried on by {escape(data['by'])}[/]"
        case "intent":
            yield f"[cyan]{escape(line.key)}[/]"
        case "outcome" if line.key.startswith("analyse"):
            yield from _verdict(data["result"])
        case "gate" | "decision" | "void" | "ruling" | "act":
            yield f"  [magenta]{escape(_approval(record, line))}[/]"
        case "same":
            yield "  [green]proven to be no worse; the bake ends early[/]"
        case "live":
            yield f"  live: {_split_in_words(data)}"
        case "check" | "drift" | "abort" | "trouble":
            yield f"  [yellow]{escape(_trouble(line))}[/]"
        case "reverting":
            yield f"[red]going back ({escape(data['by'])}): {escape(data['reason'])}[/]"


def _trouble(line: Line) -> str:
    """What may take the release back."""
    data = line.data
    match line.kind:
        case "check":
            return f"check failed: {data['reason']}"
        case "drift":
            return f"somebody else changed it: {data['what']} (on_drift: {data['on_drift']})"
        case "trouble":
            return f"could not go back yet: {data['what']}"
        case _:
            return f"abort asked for by {data['by']}"


def _approval(record: Record, line: Line) -> str:
    """What happens at a gate, or was said elsewhere."""
    data, gates = line.data, record.service.gates
    match line.kind:
        case "gate":
            names = " or ".join(gates.approvers) if gates else ""
            until = datetime.fromisoformat(data["deadline"]).astimezone()
            ask = f"davy approve {record.service.service} --by NAME"
            return f"gate {line.key}: waits for {names} until {until:%H:%M:%S} ({ask})"
        case "decision":
            return f"gate {line.key}: {data['choice']} by {decision_of(line)}"
        case "act":
            return meaning(said_in(line))
        case _:
            return f"gate {line.key}: {data['reason']}"


def _split_in_words(data: Mapping[str, Any]) -> str:
    """The split that is live, and the one asked for where the router can only come near it."""
    asked = Split(data["split"])
    served = Split(data.get("served") or data["split"])
    return str(served) if served == asked else f"{served} (the nearest to {asked} that the router can give)"


def _verdict(verdict: Mapping[str, Any]) -> Iterator[str]:
    colour = {"pass": "green", "fail": "red"}.get(verdict["result"], "yellow")
    yield f"  [{colour}]{verdict['result']}[/]"
    for finding in verdict["findings"]:
        yield f"    {finding['result']}: {escape(finding['reason'])}"


def _picture(record: Record) -> RenderableType:
    """The split, rates and errors now, the step, and the time left."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "version", "share", "requests/s", "errors", "p99"):
        table.add_column(column, justify="left" if column in ("", "version") else "right")
    for row in _rows(record):
        table.add_row(*row)
    steps = [line.key for line in record.all("intent")]
    step = steps[-1] if steps else "beginning"
    left = time_left(record)
    return Group(Text(f"{step}, about {left.total_seconds():.0f} s of baking left", style="bold"), table)


def _rows(record: Record) -> Iterator[tuple[str, ...]]:
    from tasks.judge.limits import figures_of  # noqa: PLC0415 - pandas takes a second to import
    from tasks.metrics import open_metrics  # noqa: PLC0415

    if record.traffic is None:
        return
    now = datetime.now(UTC)
    slots = [slot for slot in Slot if record.traffic.reaches(slot)]
    try:
        frame = open_metrics(record.service).fetch(slots, Window(now - RATES, now))
    except DavyError:
        return
    old = record.opening.stable
    for slot in slots:
        version = old.version if old and slot in (old.slot, Slot.BASELINE) else record.opening.version
        figures = figures_of(frame, slot)
        yield (
            slot,
            version,
            format_share(record.traffic.split[slot]),
            f"{figures.request_rate:.0f}",
            f"{figures.error_rate:.1f} %",
            f"{figures.latency_p99:.0f} ms",
        )


def time_left(record: Record) -> timedelta:
    """How long the release still bakes, if all goes well."""
    steps = plan_of(record.service, record.opening.replicas, first=record.opening.stable is None).steps
    done = sum(1 for line in record.all("outcome") if line.key.startswith("bake-"))
    left = sum((step.bake for step in steps[done:]), timedelta(0))
    baking = any(line.key.startswith("bake-") for line in record.all("intent")[-1:])
    spent = datetime.now(UTC) - record.live_since if baking and record.live_since else timedelta(0)
    return max(timedelta(0), left - spent)


def _conclude(started: Started, record: Record | None, console: Console, *, as_json: bool) -> int:
    if record is None or record.ended is None or record.outcome is None:
        run = prefect_api.read_run(started.run)
        refused = any(error.__name__ in run.message for error in (InputError, ConflictError))
        gave_way = run.state == Outcome.SUPERSEDED
        outcome, message = run.state, run.message
        code = REFUSED if refused else CODES[Outcome.SUPERSEDED] if gave_way else OTHER
        took = 0.0
    else:
        outcome, message = str(record.outcome), record.ended.data["message"]
        code = CODES.get(record.outcome, OTHER)
        took = (record.ended.at - record.opened_at).total_seconds()
    if as_json:
        result = {**started.to_json(), "outcome": outcome, "message": message, "seconds": round(took, 2)}
        print(json.dumps(result))  # noqa: T201 - the result, alone on standard output
    else:
        colour = "green" if code == 0 else "red"
        console.print(f"[bold {colour}]{outcome}[/] after {took:.1f} s: {escape(message)}", soft_wrap=True)
        if code == CODES[Outcome.ROLLED_BACK]:
            console.print(f"why, in pictures: davy report {started.release}", soft_wrap=True)
    return code


def _let_go(started: Started, console: Console) -> int:
    console.print(
        f"\nLet go: {started.release} goes on; see 'davy status'. Ctrl-C within {SECOND_CTRL_C:.0f} s aborts it."
    )
    try:
        time.sleep(SECOND_CTRL_C)
    except KeyboardInterrupt:
        console.print("Aborting ...")
        console.print(abort(started.service, user()).message, markup=False)
        return CODES[Outcome.ABORTED]
    return OTHER
