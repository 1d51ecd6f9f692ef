"""A night in one page: Markdown for its run's artifact."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import escape

from tasks.nights.book import NightRecord
from tasks.nights.entry import Decision, Entry

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!$])")


def headline(record: NightRecord) -> str:
    """The night in one sentence."""
    begun = [entry for entry in record.entries if entry.began]
    good = sum(1 for entry in begun if entry.ended and not entry.failed)
    failed = sum(entry.failed for entry in begun)
    parts = [
        f"{len(record.entries)} services looked at",
        f"{good} released",
        f"{failed} failed",
        f"{record.count(Decision.LEAVE_OUT)} left out",
    ]
    if unknown := record.count(Decision.UNKNOWN):
        parts.append(f"{unknown} could not be looked at")
    end = "; stopped after too many failures" if record.stopped else ""
    return f"Night of {record.date}: {', '.join(parts)}{end}."


def markdown_of(record: NightRecord) -> str:
    """Every service with what was found, what was decided and why, and how it went."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: NightRecord) -> Iterator[str]:
    yield f"# {_text(headline(record))}"
    yield ""
    yield "| service | stable | newest | decision | why | wave | how it ended | took | run |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for entry in record.entries:
        wave = next((n for n, names in enumerate(record.waves, 1) if entry.service in names), None)
        yield f"| {' | '.join(_cells(entry, wave))} |"


def _cells(entry: Entry, wave: int | None) -> Iterator[str]:
    yield _text(entry.service)
    yield _text(_short(entry.stable)) or "-"
    yield _text(_short(entry.found)) or "-"
    yield _text(entry.decision)
    yield _text(entry.reason)
    yield str(wave) if wave else "-"
    yield _text(f"{entry.outcome}: {entry.message}") if entry.outcome else "-"
    yield _took(entry.took) if entry.took is not None else "-"
    yield f"[run]({entry.url})" if entry.url else "-"


def _short(version: str) -> str:
    """A digest by its first letters, as people tell them apart."""
    return version[:19] if version.startswith("sha256:") else version


def _took(value: timedelta) -> str:
    minutes, seconds = divmod(round(value.total_seconds()), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _text(text: str) -> str:
    """*text* from outside, shown as it is: neither Markdown nor HTML means anything in it."""
    return _SPECIAL.sub(r"\\\1", escape(" ".join(text.split()), quote=False))
