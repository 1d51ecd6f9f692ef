"""The verbs that look back and judge: history, report, backtest, judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployments.command import Json, app, err, out, verb
from tasks.domain.canary import Thresholds


@app.command()
@verb
def history(
    service: Annotated[str | None, typer.Argument(help="Only this service.", metavar="[SERVICE]")] = None,
    *,
    since: Annotated[str, typer.Option("--since", help="How far back, such as 30d.")] = "30d",
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many releases are listed.")] = 20,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write a page there, too.", metavar="FILE.html")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Read every journal again.")] = False,
    as_json: Json = False,
) -> None:
    """Show past releases and DORA's figures: lead time, frequency, change failure rate, time to restore."""
    from deployments import history as past  # noqa: PLC0415 - not needed elsewhere
    from deployments.history_runs import ended_runs  # noqa: PLC0415 - likewise

    found = past.read_history(service, since, rebuild=rebuild, say=err.print)
    runs = ended_runs(service, found.since)
    if page:
        past.write_page(found, page)
    if as_json:
        typer.echo(json.dumps(past.to_json(found, runs, limit)))
    else:
        past.print_history(out, found, runs, limit)


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
