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
from tasks.domain.canary import Thresholds
from tasks.domain.errors import ConflictError, DavyError, InputError
from tasks.domain.model import Outcome
from tasks.domain.spec import service_schema

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
    sys.stdout.write(json.dumps(service_schema(), indent=2) + "\n")


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
def report(
    name: Annotated[
        str, typer.Argument(help="A release's id, or a service for its newest one.", metavar="RELEASE")
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one release's report: a page that says what happened and why, and needs no network."""
    from deployments.reporting import write_report  # noqa: PLC0415 - plots take a second to import

    written = write_report(name, output)
    typer.echo(json.dumps(written.to_json()) if as_json else f"{written.story.headline}\n{written.file}")


@app.command()
@verb
def backtest(
    config: Annotated[
        list[Path],
        typer.Argument(help="A Kayenta canary config (.json), a service file, or both.", metavar="CONFIG..."),
    ],
    *,
    releases: Annotated[
        Path | None,
        typer.Option("--releases", help="A folder of journals or of metric pairs.", metavar="DIR"),
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option("--judge", help="davy, kayenta, limits or compare; again for more.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Outcomes by release (JSON or CSV).", metavar="FILE")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write a plot there, too.", metavar="FILE.svg")
    ] = None,
    passing: Annotated[float | None, typer.Option("--pass", help="Score from which it passes.")] = None,
    marginal: Annotated[
        float | None, typer.Option("--marginal", help="Score from which it is marginal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge recorded releases again, and show how often each judge is wrong and how soon it is right."""
    from deployments import backtest as again  # noqa: PLC0415 - judges take a second to import
    from deployments.backtest_scores import print_backtest  # noqa: PLC0415 - likewise

    found = again.backtest(again.Options(config, judge or (), releases, labels, passing, marginal, plot))
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        print_backtest(out, found)


@app.command()
@verb
def judge(
    config: Annotated[Path, typer.Argument(help="A Kayenta canary config (JSON).", metavar="CONFIG")],
    *,
    pairs: Annotated[
        Path,
        typer.Option(
            "--pairs", metavar="FILE", help="A JSON list of {name, tags, values: {control, experiment}}."
        ),
    ],
    passing: Annotated[
        float, typer.Option("--pass", help="Score from which it passes.")
    ] = Thresholds.passing,
    marginal: Annotated[
        float, typer.Option("--marginal", help="Score from which it is marginal.")
    ] = Thresholds.marginal,
    name: Annotated[str, typer.Option("--judge", help="davy, or kayenta to the letter.")] = "davy",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise that kayenta draws.")] = 0,
    as_json: Json = False,
) -> int:
    """Judge metric pairs by a canary config; its own scoreThresholds count for nothing, as in Kayenta.

    Exit code: 0 pass, 3 fail, 5 marginal, 6 inconclusive (the davy judge only), 2 bad input.
    """
    from deployments import judging  # noqa: PLC0415 - the judges take half a second to import

    thresholds = Thresholds(passing, marginal)
    judgement = judging.judge_files(config, pairs, thresholds, name, seed)
    if as_json:
        typer.echo(json.dumps(judging.to_json(judgement), indent=2))
    else:
        judging.print_judgement(out, judgement, thresholds)
    return judging.EXIT_CODES[judgement.classification]


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
