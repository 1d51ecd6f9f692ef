"""A backtest as a plot: how often each judge is wrong, and how soon it finds a regression."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deployments.backtest_scores import Backtest, Rate
from tasks.report.canvas import INK, PAPER, WIDE, plot, themed

KINDS = (("false pass", "#d55e00", "X"), ("false fail", "#0072b2", "o"), ("false alarm", "#009e73", "s"))
"""Names, colours that colour-blind people tell apart, markers."""
_APART = 0.24
"""Between the rates of one judge."""


def plot_of(found: Backtest) -> str:
    """The plot as SVG on white."""
    return themed(_draw(found), PAPER)


@plot
def _draw(figure: Figure, found: Backtest) -> None:
    figure.set_size_inches(WIDE[0], 1.4 + 0.7 * len(found.scores))
    figure.patch.set(alpha=1, facecolor="white")
    wrong, late = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, score in enumerate(found.scores):
        for (_, colour, marker), rate, offset in zip(
            KINDS, (score.false_pass, score.false_fail, score.false_alarm), (-_APART, 0, _APART), strict=True
        ):
            _rate(wrong, row + offset, rate, colour, marker)
        seconds = [delay.time.total_seconds() for delay in score.delays]
        late.plot(seconds, np.full(len(seconds), row), "o", color=INK, alpha=0.4, ms=5)
        if seconds:
            late.plot([np.median(seconds)] * 2, [row - 0.3, row + 0.3], color=INK, lw=2)
    for row, (name, colour, marker) in enumerate(KINDS):
        wrong.plot([], [], marker, color=colour, label=name, zorder=row)
    wrong.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(KINDS))
    wrong.set_yticks(range(len(found.scores)), [score.judge for score in found.scores])
    wrong.set(xlim=(-2, 102), xlabel="wrong (% of releases, with 95 % interval)")
    wrong.set_ylim(len(found.scores) - 0.5, -0.5)
    late.set(xlabel="found after (s; the bar is the median)")
    late.set_xlim(left=0)


def _rate(axes: Axes, row: float, rate: Rate, colour: str, marker: str) -> None:
    if rate.value is None:
        return
    ends = [100 * end for end in rate.interval]
    axes.plot(ends, [row, row], color=colour, lw=4, alpha=0.35, solid_capstyle="butt")
    axes.plot(100 * rate.value, row, marker, color=colour)
