"""What every verb of the `davy` command shares: the application, its options, its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from tasks.domain.errors import ConflictError, DavyError, InputError

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
By = Annotated[str, typer.Option("--by", help="Who says so; recorded as claimed.", metavar="NAME")]
Reason = Annotated[str, typer.Option("--reason", help="Why; recorded.", metavar="TEXT")]


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
