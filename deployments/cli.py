"""`davy` on the command line. Each verb is thin: what it does lives beside it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from deployments import acts, follow, show, stack
from deployments.command import (
    GOOD,
    OTHER,
    By,
    File,
    Json,
    Reason,
    Service,
    Version,
    app,
    err,
    out,
    verb,
)
from deployments.service_files import load
from tasks.domain.errors import InputError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome
from tasks.domain.spec import service_schema
from tasks.domain.units import parse_duration
from tasks.links import links_at


@app.command()
@verb
def up() -> None:
    """Start the embedded stack: Prefect's server and UI, runners, watcher, Envoy, sampler."""
    stack.up(lambda line: out.print(f"[green]✓[/] {line}"))


@app.command()
@verb
def down() -> None:
    """End the embedded stack and every replica that it runs; the journals stay."""
    stack.down()
    out.print("[green]✓[/] nothing is left running")


@app.command()
@verb
def release(
    file: File,
    version: Version,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return at once.")] = False,
    as_json: Json = False,
) -> int:
    """Release a version and follow it. Ctrl-C lets go of it, a second one aborts it.

    Exit code: 0 promoted, 3 rolled back, 4 rejected or aborted, 2 bad input, 1 anything else.
    """
    service = load(file)
    started = acts.start_release(service, version, say=err.print if as_json else out.print)
    if detach:
        typer.echo(json.dumps(started.to_json()) if as_json else f"{started.release} runs: {started.url}")
        return GOOD
    return follow.follow(started, err if as_json else out, as_json=as_json)


@app.command()
@verb
def plan(file: File, version: Version, *, as_json: Json = False) -> None:
    """Show what a release would do, and touch nothing."""
    service = load(file)
    show.print_plan(out, service, version, as_json=as_json)


@app.command()
@verb
def status(*, as_json: Json = False) -> None:
    """Show every service: its stable version, live split, replicas, and the release under way."""
    show.print_status(out, as_json=as_json)


@app.command()
@verb
def abort(
    service: Service,
    *,
    by: Annotated[str, typer.Option("--by", help="Who says so; recorded.")] = "",
    as_json: Json = False,
) -> int:
    """Take back the release of a service that is under way, or that was left frozen."""
    aborted = acts.abort(service, by or acts.user())
    typer.echo(json.dumps(aborted.to_json()) if as_json else f"{aborted.release}: {aborted.message}")
    return GOOD if aborted.outcome == Outcome.ABORTED else OTHER


@app.command()
@verb
def approve(
    service: Service,
    *,
    by: By = "",
    reason: Reason = "",
    hold: Annotated[
        str, typer.Option("--hold", help="Don't decide yet: wait so much longer, as 30m.", metavar="DURATION")
    ] = "",
    as_json: Json = False,
) -> None:
    """Let the release that waits at a gate go on, or wait longer."""
    choice = Choice.HOLD if hold else Choice.APPROVE
    _decided(service, choice, by, reason, hold, as_json=as_json)


@app.command()
@verb
def reject(service: Service, *, by: By = "", reason: Reason = "", as_json: Json = False) -> None:
    """Have the release that waits at a gate taken back."""
    _decided(service, Choice.REJECT, by, reason, "", as_json=as_json)


@app.command()
@verb
def links(service: Service, *, as_json: Json = False) -> None:
    """Print each approver's own link to the gate that the release waits at; who has it decides in their name."""
    found = links_at(acts.running_release(service))
    if as_json:
        typer.echo(json.dumps({link.approver: link.url for link in found}))
    else:
        typer.echo(
            "\n".join(f"{link.approver}: {link.url}" for link in found) or f"{service} waits at no gate"
        )


def _decided(service: str, choice: Choice, by: str, reason: str, hold: str, *, as_json: bool) -> None:
    try:
        held_for = parse_duration(hold) if hold else timedelta(0)
    except ValueError as error:
        raise InputError("hold", hold, "a duration such as 30m") from error
    said = acts.decide(service, choice, by=by or acts.user(), reason=reason, held_for=held_for)
    found = {"service": service, "decision": said.choice, "by": said.by, "verified": said.verified}
    typer.echo(json.dumps(found) if as_json else f"{service}: {said.choice} by {said}")


@app.command()
@verb
def rollback(service: Service, *, as_json: Json = False) -> int:
    """Send all traffic back to the version before the last promoted one."""
    started = acts.start_rollback(service, say=err.print if as_json else out.print)
    return follow.follow(started, err if as_json else out, as_json=as_json)


@app.command()
@verb
def schema() -> None:
    """Print the JSON Schema of service files, for editors."""
    sys.stdout.write(json.dumps(service_schema(), indent=2) + "\n")


@app.command()
@verb
def webhooks(
    folder: Annotated[Path, typer.Argument(help="A folder with service files.", metavar="DIR")],
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 4300,
) -> None:
    """Receive merges from GitHub, GitLab and others, and release the services that wait for them."""
    from deployments.webhooks import serve  # noqa: PLC0415 - its imports are not needed elsewhere

    serve(folder, host, port)


@app.command()
@verb
def nightly(
    folder: Annotated[Path, typer.Argument(help="A folder with service files.", metavar="DIR")],
    *,
    as_json: Json = False,
) -> None:
    """Release what is new of every service in a folder that has `versions`, in waves; night.yaml says how."""
    from deployments.nightly import start_night  # noqa: PLC0415 - prefect takes a second to import
    from deployments.prefect_api import run_url  # noqa: PLC0415 - likewise

    run = start_night(folder, say=err.print if as_json else out.print)
    typer.echo(json.dumps({"run": run.id, "url": run_url(run.id)}) if as_json else run_url(run.id))


@app.command()
@verb
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
) -> int:
    """Release good and bad versions of a shop under load, and show what its users noticed."""
    from deployments import demo as demonstration  # noqa: PLC0415 - its imports are not needed elsewhere

    return demonstration.run(out, keep=keep)


@app.command()
@verb
def deploy(
    folder: Annotated[Path, typer.Argument(help="A folder with service files.", metavar="DIR")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference, and touch nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove without asking what the folder has no more.")
    ] = False,
    pool: Annotated[
        str | None, typer.Option("--pool", help="Work pool that carries the runs.", metavar="NAME")
    ] = None,
    as_json: Json = False,
) -> int:
    """Put every service file of a folder on Prefect, with a form for its runs, and its schedule.

    Exit code: 0 done, 1 something was not removed since there was nobody to ask, 2 bad input.
    """
    from deployments.deploy_verb import run  # noqa: PLC0415 - not needed elsewhere

    return run(folder, dry_run=dry_run, yes=yes, pool=pool, as_json=as_json)


importlib.import_module("deployments.cli_acts")  # its verbs come after these
importlib.import_module("deployments.cli_judging")  # likewise


def main() -> None:
    """The entry point of the `davy` command.

    Programs of Davy's own environment come first on PATH, for everything that it starts.
    """
    os.environ["PATH"] = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    )
    app()


if __name__ == "__main__":
    main()
