"""A report's plots as SVG: the same arm has the same colour in all of them, and each axis its unit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tasks.domain.model import Result, Slot
from tasks.domain.pairs import Values
from tasks.judge.standings import Estimate
from tasks.judge.words import UNITS
from tasks.report.canvas import COLOURS, DASHES, FAINT, INK, LINES, NARROW, WIDE, clock, moment, plot, stretch
from tasks.report.judged import Compared, Pair
from tasks.report.measured import Metric
from tasks.report.series import Role
from tasks.report.story import Story
from tasks.report.words import number, share

_DOTS = 90
"""Points up to which each is a dot."""
_LOWEST = 6
"""Percent at which a label of a small share stands."""
_SHORTEST = 0.06
"""Part of the time axis that a label of a share needs."""


@plot
def shares_plot(figure: Figure, story: Story) -> None:
    """Who had how much of the traffic, with the verdicts on top."""
    figure.set_size_inches(WIDE)
    axes = figure.subplots()
    _, until = stretch(story)
    at = [moment(one.at) for one in story.shares] + [until]
    below = np.zeros(len(at))
    for role in (Role.NEW, Role.BASELINE, Role.OLD):
        part = np.array([one.shares.get(role, 0) / 100 for one in story.shares])
        top = below + np.append(part, part[-1:])
        if part.any():
            axes.fill_between(at, below, top, step="post", color=COLOURS[role], alpha=0.75, lw=0)
        below = top
    axes.set(ylim=(0, 100), ylabel="share of traffic (%)")
    for one in story.judged:
        failed = one.verdict.result is not Result.PASS
        axes.plot(moment(one.at), 106, "X" if failed else "o", color=INK, ms=6, clip_on=False)
        word = {Result.PASS: "pass", Result.FAIL: "fail"}.get(one.verdict.result, str(one.verdict.result))
        axes.annotate(word, (moment(one.at), 110), ha="center", va="bottom", annotation_clip=False, size=8)
    _name_shares(axes, story, at)
    clock(axes, story)


def _name_shares(axes: Axes, story: Story, at: list[float]) -> None:
    """The new version's share inside its area, where there is room."""
    for one, (since, until) in zip(story.shares, pairwise(at), strict=True):
        points = one.shares.get(Role.NEW, 0)
        if points and until - since > _SHORTEST * (at[-1] - at[0]):
            axes.text(
                (since + until) / 2,
                max(points / 200, _LOWEST),
                share(points),
                ha="center",
                va="center",
                weight="bold",
            )


@plot
def metric_plot(figure: Figure, metric: Metric, story: Story) -> None:
    """The metric of each arm over time, with what is allowed and what was found."""
    if not (metric.spreads or metric.compared):
        figure.set_size_inches(WIDE)
    axes = figure.subplots()
    for role, curve in metric.curves.items():
        at = [moment(one) for one in curve.times]
        _line(axes, role, at, curve.values)
    for level in metric.levels:
        ends = [moment(level.since), moment(level.until)]
        axes.plot(ends, [level.value] * 2, color=COLOURS[Role.NEW], lw=6, alpha=0.35, solid_capstyle="butt")
    _bounds(axes, metric)
    _steps(axes, story)
    axes.set_ylabel(_unit(metric.name))
    top = axes.get_ylim()[1]
    axes.set_ylim(-0.03 * top, 1.05 * top)
    clock(axes, story)


@plot
def spread_plot(figure: Figure, metric: Metric) -> None:
    """How each arm's latencies were spread: percent of requests by bucket, both axes logarithmic."""
    axes = figure.subplots()
    shown = [spread.bounds[:-1][spread.percent[:-1] > 0] for spread in metric.spreads.values()]
    top = max((float(bounds.max()) for bounds in shown if len(bounds)), default=1.0)
    for role, spread in metric.spreads.items():
        edges = np.concatenate([[spread.bounds[0] / 2], spread.bounds[:-1], [spread.bounds[-2] * 2]])
        axes.stairs(spread.percent, edges, color=COLOURS[role], lw=1.5, ls=LINES[role])
        axes.stairs(spread.percent, edges, color=COLOURS[role], alpha=0.2, fill=True)
    if metric.limit and metric.limit.max:
        axes.axvline(metric.limit.max, color=INK, ls=DASHES, lw=1)
        axes.annotate(
            "limit", (metric.limit.max, 1.01), xycoords=("data", "axes fraction"), va="bottom", size=8
        )
        top = max(top, metric.limit.max)
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(0.05, 130),
        ylabel="part of requests (%)",
        xlabel="response time (ms)",
    )
    axes.set_xlim(right=top * 1.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _position: number(value))
        axis.set_minor_formatter(NullFormatter())


@plot
def interval_plot(figure: Figure, compared: Compared) -> None:
    """Both values with their intervals, and the bound beyond which the candidate is worse."""
    figure.set_size_inches(NARROW[0], 1.25)
    axes = figure.subplots()
    beside = Role.BASELINE if compared.against == Slot.BASELINE else Role.OLD
    rows = [(0, beside, compared.other), (1, Role.NEW, compared.candidate)]
    for row, role, estimate in rows:
        _interval(axes, row, role, estimate)
    if np.isfinite(compared.bound):
        axes.axvline(compared.bound, color=INK, ls=DASHES, lw=1)
        axes.annotate(
            "allowed", (compared.bound, 1.01), xycoords=("data", "axes fraction"), va="bottom", size=8
        )
    axes.set_yticks([0, 1], [compared.against, compared.slot])
    axes.set(ylim=(-0.6, 1.6), xlabel=_unit(compared.metric))
    axes.set_xlim(left=0)


def _interval(axes: Axes, row: int, role: Role, estimate: Estimate) -> None:
    ends = [value for value in (estimate.lower, estimate.upper) if np.isfinite(value)]
    if len(ends) > 1:
        axes.plot(ends, [row, row], color=COLOURS[role], lw=5, alpha=0.4, solid_capstyle="butt")
    axes.plot(estimate.value, row, "o", color=COLOURS[role])


@plot
def pair_plot(figure: Figure, pair: Pair, story: Story) -> None:
    """Both series of a metric pair over time."""
    axes = figure.subplots()
    for role, values in _arms(pair, story):
        at = [moment(pair.start + number_of * pair.step) for number_of in range(len(values))]
        _line(axes, role, at, values)
    _steps(axes, story)
    axes.set_ylabel(_shortened(pair.name))
    clock(axes, story)


@plot
def pair_spread_plot(figure: Figure, pair: Pair, story: Story) -> None:
    """Both distributions of a metric pair as boxes: quartiles, and 1.5 times their range."""
    axes = figure.subplots()
    arms = [(role, values[np.isfinite(values)]) for role, values in _arms(pair, story)]
    arms = [(role, values) for role, values in arms if len(values)]
    for row, (role, values) in enumerate(arms):
        style = {"color": COLOURS[role], "lw": 1.5}
        axes.boxplot(
            values,
            positions=[row],
            orientation="horizontal",
            widths=0.5,
            boxprops=style,
            whiskerprops=style,
            capprops=style,
            medianprops={**style, "lw": 3},
            flierprops={"marker": ".", "markeredgecolor": COLOURS[role]},
        )
    names = [f"{'experiment' if role is Role.NEW else 'control'}\nn = {len(values)}" for role, values in arms]
    axes.set_yticks(range(len(arms)), names)
    axes.set_xlabel(_shortened(pair.name))


def _line(axes: Axes, role: Role, at: list[float], values: Values) -> None:
    """An arm's line; with dots while they are few, for each of them takes room in the page."""
    dots = "." if len(values) <= _DOTS else ""
    axes.plot(at, values, LINES[role], marker=dots, ms=3, color=COLOURS[role], lw=1.3)


def _arms(pair: Pair, story: Story) -> list[tuple[Role, Values]]:
    """Control, which is the baseline where the release has one, and experiment."""
    beside = Role.BASELINE if any(Role.BASELINE in one.shares for one in story.shares) else Role.OLD
    return [(beside, pair.control), (Role.NEW, pair.experiment)]


def _bounds(axes: Axes, metric: Metric) -> None:
    """The limits as dashed lines, with their values at the right."""
    limit = metric.limit
    for word, bound in (("at most", limit.max), ("at least", limit.min)) if limit else ():
        if bound is not None:
            axes.axhline(bound, color=INK, ls=DASHES, lw=1)
            text = f"{word}\n{number(bound)}{UNITS.get(metric.name, '')}"
            axes.annotate(text, (1.01, bound), xycoords=("axes fraction", "data"), va="center", size=8)


def _steps(axes: Axes, story: Story) -> None:
    """A thin line wherever the new version's share changed, with the share; and where the way back ended."""
    for before, one in pairwise(story.shares):
        points = one.shares.get(Role.NEW, 0)
        if points == before.shares.get(Role.NEW, 0):
            continue
        axes.axvline(moment(one.at), color=FAINT, lw=0.8)
        text = share(points) if points else "back"
        axes.annotate(text, (moment(one.at), 1.01), xycoords=("data", "axes fraction"), size=8, va="bottom")


def _unit(name: str) -> str:
    quantity = {"error_rate": "failed requests (%)", "request_rate": "requests per second"}
    return quantity.get(name, f"response time{UNITS.get(name, '').replace(' ms', ' (ms)')}")


def _shortened(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."  # noqa: PLR2004 - what fits
