"""A flow outlives the runner that started it, whose death takes the reader of its output away."""

from __future__ import annotations

from rich.console import Console


def outlive_runner() -> None:
    """Let this process go on when nobody reads what it prints.

    Prefect logs to one of rich's consoles, and those end the process at a broken pipe: without this,
    a release's flow would die at the first log line after its runner was killed.
    """
    Console.on_broken_pipe = _fall_silent  # type: ignore[method-assign, assignment]  # rich means it to be replaced


def _fall_silent(console: Console) -> None:
    console.quiet = True
