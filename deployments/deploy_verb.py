"""What `davy deploy` asks and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.markup import escape

from deployments import prefect_api
from deployments.acts import bring_up
from deployments.command import GOOD, OTHER, err, out
from deployments.deploy import carry_out, check_pool, differences, wanted_in
from deployments.deploy_difference import Difference
from tasks.domain.errors import TransientError

COLOURS = {"+": "green", "~": "yellow", "-": "red", "=": "dim"}
"""Of a line, by its action."""


@dataclass
class Asking:
    """Whether what a folder has no more may be removed: said beforehand, or asked at the terminal.

    Attributes:
        left: What was left since there was nobody to ask.
    """

    yes: bool
    left: list[str] = field(default_factory=list)

    def __call__(self, names: list[str]) -> bool:
        """Whether *names* may be removed."""
        if self.yes:
            return True
        if not at_terminal():
            self.left = names
            return False
        return typer.confirm(f"Remove {', '.join(names)}?", err=True)


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def run(folder: Path, *, dry_run: bool, yes: bool, pool: str | None, as_json: bool) -> int:
    """Deploy a folder, or show what that would do.

    Raises:
        InputError: A file, the pool or the folder is wrong; nothing was deployed.
        TransientError: The server stayed away.
    """
    wanted = wanted_in(folder, pool)
    reach_server(start=not dry_run, as_json=as_json)
    check_pool(pool)
    found = differences(folder, wanted)
    asking = Asking(yes)
    done = found if dry_run else carry_out(wanted, found, remove=asking)
    show(done, as_json=as_json)
    if asking.left:
        said = f"left, since nobody can be asked here: {', '.join(asking.left)}; --yes removes"
        err.print(f"[red]davy:[/] {escape(said)}", soft_wrap=True)
    return OTHER if asking.left else GOOD


def reach_server(*, start: bool, as_json: bool) -> None:
    """Make sure that Prefect's server answers.

    Args:
        start: Bring the embedded stack up where it does not.

    Raises:
        TransientError: It does not answer.
    """
    if prefect_api.is_healthy():
        return
    if not start:
        msg = f"Prefect's server: found none at {prefect_api.server_url()}, expected one to compare with (davy up)"
        raise TransientError(msg)
    bring_up(err.print if as_json else out.print)


def show(found: Sequence[Difference], *, as_json: bool) -> None:
    """One line each."""
    if as_json:
        typer.echo(json.dumps([one.to_json() for one in found]))
        return
    for one in found:
        out.print(f"[{COLOURS[one.action]}]{escape(str(one))}[/]", soft_wrap=True)
