"""`davy` on the command line. Each verb is thin: what it does lives beside it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from deployments import acts, follow, show, stack
from deployments.service_files import load
from tasks.domain.errors import ConflictError, DavyError, InputError
from tasks.domain.model import Outcome
from tasks.domain.spec import service_adapter

P = ParamSpec("P")

GOOD, OTHER, BAD_INPUT = 0, 1, 2

app = typer.Typer(
    help="Takes a service to its new version without its users noticing, and back by itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True, highlight=False)

File = Annotated[Path, typer.Argument(help="The service file (YAML).", metavar="FILE")]
Version = Annotated[str, typer.Option("--version", "-v", help="The version to release.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Service = Annotated[str, typer.Argument(help="The service's name.", metavar="SERVICE")]


def verb(function: Callable[P, int | None]) -> Callable[P, None]:
    """Turn what a verb returns or raises into an exit code and a message."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs) or GOOD
        except (InputError, ConflictError) as error:
            err.print(f"[red]davy:[/] {escape(str(error))}", soft_wrap=True)
            code = BAD_INPUT
        except DavyError as error:
            err.print(f"[red]davy:[/] {escape(str(error))}", soft_wrap=True)
            code = OTHER
        except KeyboardInterrupt:
            err.print("\ndavy: interrupted")
            code = OTHER
        raise typer.Exit(code)

    return run


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
def rollback(service: Service, *, as_json: Json = False) -> int:
    """Send all traffic back to the version before the last promoted one."""
    started = acts.start_rollback(service, say=err.print if as_json else out.print)
    return follow.follow(started, err if as_json else out, as_json=as_json)


@app.command()
@verb
def schema() -> None:
    """Print the JSON Schema of service files, for editors."""
    sys.stdout.write(json.dumps(service_adapter.json_schema(), indent=2) + "\n")


@app.command()
@verb
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
) -> int:
    """Release good and bad versions of a shop under load, and show what its users noticed."""
    from deployments import demo as demonstration  # noqa: PLC0415 - its imports are not needed elsewhere

    return demonstration.run(out, keep=keep)


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
