"""What a person is shown at a gate, as Markdown: what is asked, what was judged so far, what comes next."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.domain.gates import OpenGate, place_of
from tasks.domain.units import format_share
from tasks.record import Record
from tasks.report.markdown import image, text
from tasks.report.plots import metric_plot, shares_plot
from tasks.report.story import Story, story_of
from tasks.report.words import TITLES, share, span


def evidence_at(record: Record, gate: OpenGate) -> str:
    """The evidence for the decision at *gate*, for the form, the page and the artifact."""
    return "\n".join(_lines(record, gate, story_of(record))) + "\n"


def question_at(record: Record, gate: OpenGate) -> str:
    """What is asked, in one sentence."""
    stable = f" in place of {record.opening.stable.version}" if record.opening.stable else ""
    return f"{record.service.service} {record.opening.version}{stable} waits for approval {place_of(gate.point)}."


def terms_at(record: Record, gate: OpenGate) -> str:
    """Who may decide, how, and until when."""
    names = ", ".join(gate.terms.approvers)
    until = gate.until(record.decisions)
    then = {"approve": "approved", "reject": "taken back"}[gate.terms.on_timeout]
    many = f"{gate.needed} approvals are" if gate.needed > 1 else "One approval is"
    unknown = " (nobody knows who started it)" if gate.needed > 1 else ""
    by_link = " by their own links" if gate.terms.approval == "verified" else ""
    return (
        f"{many} needed{unknown} of {names}{by_link}. Without a decision it is {then} at {until:%H:%M} UTC "
        f"on {until:%d %B}. Started by {gate.starter or 'somebody not known'}."
    )


def _lines(record: Record, gate: OpenGate, story: Story) -> Iterator[str]:
    yield f"**{text(question_at(record, gate))}**"
    yield ""
    yield text(terms_at(record, gate))
    yield ""
    for decision in record.decisions:
        yield f"- {decision.choice}: {text(str(decision))}"
    yield from _plan(record, story)
    yield from _pictures(story)
    yield from _findings(story)
    yield ""
    yield f"Plan `{gate.plan[:12]}`, release `{record.release}`."


def _pictures(story: Story) -> Iterator[str]:
    if story.shares:
        yield "Who answered the users: the new version (orange), the old one (blue), a baseline of it (light blue)."
        yield ""
        yield image("Who answered the users", shares_plot, story)
        yield ""
    for metric in story.metrics[:1]:
        if metric.curves:
            yield f"{TITLES[metric.name]}, in the same colours."
            yield ""
            yield image(TITLES[metric.name], metric_plot, metric, story)
            yield ""


def _findings(story: Story) -> Iterator[str]:
    """All that was judged, a line for each finding: the form is too narrow for a table."""
    for one in story.judged:
        yield f"Judged at {one.at:%H:%M:%S} UTC, with {share(one.share)} of the traffic:"
        yield ""
        for finding in one.verdict.findings:
            yield f"- **{finding.result}**: {text(finding.reason or finding.metric)}"
        yield ""


def _plan(record: Record, story: Story) -> Iterator[str]:
    done = sum(1 for line in record.all("outcome") if line.key.startswith("bake-"))
    yield "| step | share | held for | so far |"
    yield "|---|---|---|---|"
    for number, step in enumerate(story.plan.steps if story.plan else ()):
        mark = "done" if number < done else "next" if number == done else ""
        yield f"| {text(step.what)} | {format_share(step.share)} | {span(step.bake)} | {mark} |"
    yield ""
