"""What all plots of a report have in common: colours, lines, the clock, and how they become SVG.

Colours are Okabe and Ito's, told apart by colour-blind people too; the arms' lines also differ in
kind. They stand as markers in the SVG, so that a page can put in its own (`themed`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from io import StringIO
from typing import Any, Concatenate, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure

from tasks.report.series import Role
from tasks.report.story import Story

P = ParamSpec("P")

INK, FAINT = "#010203", "#0a0b0c"
COLOURS = {Role.NEW: "#d55e00", Role.BASELINE: "#56b4e9", Role.OLD: "#0072b2"}
LINES = {Role.NEW: "-", Role.BASELINE: ":", Role.OLD: "--"}
PAPER = {INK: "#222222", FAINT: "#bbbbbb"}
"""What `themed` puts in where the SVG is shown on white."""
WIDE, NARROW = (9.4, 2.5), (4.6, 2.5)
"""Inches; one that is alone fills the page's width."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "davy",  # the same story gives the same page
    "text.parse_math": False,  # names come from outside
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
DASHES = (0, (4, 2))
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_MARGIN = 0.04
"""Part of the time axis that is drawn beyond the end."""
_SHORTEST = 0.1 / 86_400
"""Days that are drawn beyond the end at least."""
_LONG = 1.0
"""Days from which on a clock needs the day too."""


def plot(draw: Callable[Concatenate[Figure, P], None]) -> Callable[P, str]:
    """Give *draw* a figure, and what it has drawn as SVG without prolog, scripts or addresses."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=NARROW)
            figure.patch.set_alpha(0)
            draw(figure, *args, **kwargs)
            for axes in figure.axes:
                axes.patch.set_alpha(0)
            svg = StringIO()
            figure.savefig(svg, format="svg", metadata=_NO_METADATA)
        return re.sub(r"^.*?(?=<svg)", "", svg.getvalue(), flags=re.DOTALL)

    return drawn


def themed(svg: str, colours: Mapping[str, str]) -> str:
    """*svg* with its colours replaced."""
    for old, new in colours.items():
        svg = svg.replace(old, new)
    return svg


def clock(axes: Axes, story: Story) -> None:
    """The same stretch of time on each plot, and times as clocks show them."""
    since, until = stretch(story)
    axes.set_xlim(since, until)
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]  # matplotlib's dates have no types
    axes.xaxis.set_major_locator(locator)
    form = "%H:%M:%S" if until - since < _LONG else "%d %b %H:%M"
    axes.xaxis.set_major_formatter(DateFormatter(form, tz=UTC))  # type: ignore[no-untyped-call]  # likewise
    axes.set_xlabel("time (UTC)")
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def stretch(story: Story) -> tuple[float, float]:
    """From a release's beginning to a little after the last that is known of it, so that the end can be seen."""
    known = [*(one.at for one in story.shares), *(one.at for one in story.judged)]
    since, until = moment(story.began), moment(story.ended or max([story.began, *known]))
    return since, until + max(_MARGIN * (until - since), _SHORTEST)


def moment(at: datetime) -> float:
    """A moment as matplotlib counts them: days since 1970."""
    return at.timestamp() / 86_400
