"""A story in short as Markdown, for an artifact of its run: tables, and plots as images."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from html import escape

from tasks.report.canvas import PAPER, themed
from tasks.report.plots import metric_plot, shares_plot
from tasks.report.story import Story
from tasks.report.words import TITLES, share

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!$])")


def markdown_of(story: Story) -> str:
    """The verdict in one sentence, the findings, the shares, and what decided."""
    return "\n".join(_lines(story)) + "\n"


def _lines(story: Story) -> Iterator[str]:
    yield f"# {text(story.headline)}"
    yield ""
    if story.shares:
        yield image("Who answered the users", shares_plot, story)
        yield ""
    for metric in story.metrics[:1]:
        if metric.decided and metric.curves:
            yield image(TITLES[metric.name], metric_plot, metric, story)
            yield ""
    yield from table_of(story)


def table_of(story: Story) -> Iterator[str]:
    """All that was judged, a row for each finding; nothing where nothing was."""
    if story.judged:
        yield "| time (UTC) | by | share | metric | of | result | why |"
        yield "|---|---|---|---|---|---|---|"
    for one in story.judged:
        for finding in one.verdict.findings:
            cells = (finding.metric, finding.slot, finding.result, finding.reason)
            told = " | ".join(map(text, cells))
            yield f"| {one.at:%H:%M:%S} | {one.name} | {share(one.share)} | {told} |"


def text(plain: str) -> str:
    """*plain* from outside, shown as it is: neither Markdown nor HTML means anything in it."""
    return _SPECIAL.sub(r"\\\1", escape(" ".join(plain.split()), quote=False))


def image(title: str, draw: Callable[..., str], *things: object) -> str:
    """A plot of *things* as an image within the text."""
    svg = themed(draw(*things), PAPER).replace("<svg ", '<svg style="background: white" ', 1)
    return f"![{title}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"
