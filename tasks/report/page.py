"""A story as one HTML page that needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from tasks.domain.model import Outcome
from tasks.domain.units import format_duration
from tasks.judge.standings import CONFIDENCE
from tasks.judge.words import UNITS
from tasks.report import canvas, plots
from tasks.report.judged import Pair
from tasks.report.measured import Metric
from tasks.report.series import Role
from tasks.report.story import Story
from tasks.report.words import BAD, CANARY, TITLES, number, quantity, share, span

DRAWN = 12
"""How many metrics, and how many metric pairs, are drawn; the tables hold all."""
_VARIABLES = {
    canvas.INK: "currentColor",
    canvas.FAINT: "var(--faint)",
    **{colour: f"var(--{role})" for role, colour in canvas.COLOURS.items()},
}


def page_of(story: Story, above: Markup | None = None) -> str:
    """The page, which a browser shows as it is. Everything from outside is escaped.

    Args:
        above: HTML to stand before all else.
    """
    return _template().render(
        story=story,
        above=above or "",
        good=story.is_good,
        badge=_badge(story),
        names=_names(story),
        metrics=[metric for metric in story.metrics if metric.curves or metric.decided][:DRAWN],
        pairs=story.pairs[:DRAWN],
        drawn=DRAWN,
        canary_first=bool(story.metrics) and story.metrics[0].decided and story.metrics[0].name == CANARY,
        groups=_groups(story),
        plot=_inline,
        plots=plots,
        title=_title,
        units=UNITS,
        effect=_effect,
        is_bad=_is_bad,
        number=number,
        confidence=number(100 * CONFIDENCE),
        quantity=quantity,
        share=share,
        span=span,
        format_duration=format_duration,
        Role=Role,
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(files("tasks.report").joinpath("page.html.j2").read_text())


def _inline(draw: Callable[..., str], *things: object) -> Markup:
    """A plot in the page's colours."""
    svg = canvas.themed(draw(*things), _VARIABLES)
    return Markup(svg)  # noqa: S704 - matplotlib has escaped every text in it


def _badge(story: Story) -> str:
    if story.outcome is None:
        return "going back" if story.back_at else "under way"
    words = {Outcome.ROLLED_BACK: "taken back", Outcome.TRIED: "tried", Outcome.PROMOTED: "promoted"}
    return words.get(story.outcome, str(story.outcome).lower())


def _names(story: Story) -> dict[Role, str]:
    """What each arm is, for the legend; those that the release does not have are left out."""
    names = {Role.NEW: f"{story.version}, the new version"}
    if any(Role.BASELINE in one.shares for one in story.shares):
        names[Role.BASELINE] = f"{story.stable}, started anew as a baseline"
    if story.stable:
        names[Role.OLD] = f"{story.stable}, the old version"
    return names


def _title(metric: Metric) -> str:
    return TITLES.get(metric.name, metric.name)


def _is_bad(pair: Pair) -> bool:
    return pair.result is not None and pair.result.classification in BAD


def _effect(pair: Pair) -> str:
    """How large a difference is, in the measure that its config asks for."""
    if pair.result is None or pair.result.effect is None:
        return ""
    if pair.is_cles:
        return f"larger in {number(100 * pair.result.effect)} % of comparisons"
    return f"{number(pair.result.effect)} times the control's mean"


def _groups(story: Story) -> list[tuple[str, list[str]]]:
    """Group names, each with its scores: one for each judgement, oldest first."""
    judgements = [one.judgement for one in story.judged if one.judgement]
    names = dict.fromkeys(group.name for judgement in judgements for group in judgement.groups)
    scores = [{group.name: group.score for group in judgement.groups} for judgement in judgements]
    return [(name, [_score(by_name.get(name)) for by_name in scores]) for name in names]


def _score(score: float | None) -> str:
    return "no data" if score is None else number(score)
