"""Past releases as one HTML page that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.history import End, Entry, History, ends_of, rounded
from tasks.report import canvas
from tasks.report.words import share

NEWEST = 100
"""How many releases the page lists."""
WEEKS = 53
"""How many weeks are drawn at most, the newest."""
COLOURS = {
    End.PROMOTED: "#0072b2",
    End.TRIED: "#56b4e9",
    End.FAILED: "#d55e00",
    End.STOPPED: "#e69f00",
    End.WITHDRAWN: "#999999",
}
"""Okabe and Ito's, as in reports."""
NAMES = {
    End.PROMOTED: "promoted",
    End.TRIED: "tried, and passed",
    End.FAILED: "failed: users had it",
    End.STOPPED: "stopped before any user had it",
    End.WITHDRAWN: "withdrawn",
}
_VARIABLES = {
    canvas.INK: "currentColor",
    canvas.FAINT: "var(--faint)",
    **{colour: f"var(--{end})" for end, colour in COLOURS.items()},
}
_LABELS = 9
"""Weeks from which on not each is labelled."""


@dataclass(frozen=True)
class Links:
    """Where more is told of a release; empty for nowhere.

    Attributes:
        report: Its report, as a path from the page's folder.
        run: Its flow run's page.
    """

    report: str = ""
    run: str = ""


@dataclass(frozen=True)
class Week:
    """How the releases that ended in one week ended; it begins on a Monday, UTC."""

    since: datetime
    ends: Mapping[End, int]


def history_page(history: History, links: Mapping[Entry, Links]) -> str:
    """The page, which a browser shows as it is. Everything from outside is escaped."""
    ends = ends_of(history.entries)
    weeks = weeks_of(ends, history.since, history.until)
    rows = [*history.services.items(), *([("", history.overall)] if len(history.services) != 1 else [])]
    return _template().render(
        history=history,
        entries=history.entries[:NEWEST],
        ends=ends,
        rows=rows,
        links=links,
        chart=Markup(canvas.themed(weeks_plot(weeks), _VARIABLES)) if ends else "",  # noqa: S704 - as in a report
        drawn=[end for end in End if history.overall.ends[end]],
        names=NAMES,
        notes=_notes,
        End=End,
        share=share,
        rounded=rounded,
    )


def weeks_of(ends: Mapping[Entry, End], since: datetime, until: datetime) -> tuple[Week, ...]:
    """Each week of the span, also those without a release; the newest `WEEKS`."""
    counts: dict[datetime, Counter[End]] = {}
    for entry, end in ends.items():
        if entry.ended:
            counts.setdefault(_monday(entry.ended), Counter())[end] += 1
    week, last = max(_monday(since), _monday(until) - timedelta(weeks=WEEKS - 1)), _monday(until)
    weeks = [week + timedelta(weeks=number) for number in range((last - week).days // 7 + 1)]
    return tuple(Week(one, counts.get(one, Counter())) for one in weeks)


@canvas.plot
def weeks_plot(figure: Figure, weeks: Sequence[Week]) -> None:
    """Releases by week, how they ended one above the other."""
    figure.set_size_inches(canvas.WIDE)
    axes = figure.subplots()
    at = list(range(len(weeks)))
    below = [0] * len(weeks)
    for end in End:
        part = [week.ends.get(end, 0) for week in weeks]
        if any(part):
            axes.bar(at, part, 0.7, below, color=COLOURS[end])
        below = [low + more for low, more in zip(below, part, strict=True)]
    every = max(1, -(-len(weeks) // _LABELS))
    shown = at[::-1][::every][::-1]
    axes.set_xticks(shown, [f"{weeks[one].since:%d %b}" for one in shown])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylim=(0, 1.05 * max([1, *below])), xlim=(-0.6, len(weeks) - 0.4))
    axes.set(ylabel="releases", xlabel="week from Monday (UTC)")
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _monday(at: datetime) -> datetime:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def _notes(entry: Entry) -> str:
    """What is told of a way back beside its reason."""
    by = f"by {entry.by}" if entry.by and entry.by not in entry.reason else ""
    after = f"users back after {rounded(entry.restoring)}" if entry.reason and entry.restoring else ""
    return "; ".join(filter(None, (by, after)))


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(files("tasks.report").joinpath("history.html.j2").read_text())
