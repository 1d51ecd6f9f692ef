"""What the messages say of a release's verdicts. Needs pandas, so it is imported where a message is made."""

from __future__ import annotations

from datetime import timedelta

from tasks.domain.model import Result
from tasks.notify.base import one_line
from tasks.record import Record
from tasks.report.judged import Judged, judged_in, new_share
from tasks.report.story import deciding_of
from tasks.report.words import cause, decided_by, headline, share, span

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""What evidence that is not as it should be leads to; people are told in the journal's own words then."""


def reason_of(record: Record) -> str:
    """Why the release goes back, or did: what users saw, if that was it."""
    try:
        return cause(record, deciding_of(record, judged_in(record)))
    except UNREADABLE:
        word = record.reverting or record.ended
        said = (word.data.get("reason") or word.data.get("message")) if word else ""
        return one_line(said or "no reason was given")


def end_of(record: Record) -> str:
    """How the release ended, in one sentence."""
    try:
        judged = judged_in(record)
        return headline(record, judged, deciding_of(record, judged)).rstrip(".")
    except UNREADABLE:
        return f"{record.opening.service.service} {record.opening.version} ended: {reason_of(record)}"


def verdict_of(record: Record) -> str:
    """What the last verdict says, after the words "it was judged at 5 %: "."""
    try:
        return _told(judged_in(record)[-1])
    except UNREADABLE:
        return one_line(record.lines[-1].data["result"]["result"])


def had(record: Record) -> str:
    """What share of the traffic the new version has now."""
    live = record.last("live")
    return share(new_share(record, live.data["split"]) if live else 0)


def about(value: timedelta) -> str:
    """A planned duration as one says it: whole minutes, or seconds of less than one."""
    seconds = round(value.total_seconds())
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"about {seconds} s"
    return f"about {span(timedelta(minutes=round(seconds / 60))).removesuffix(' 0 s').removesuffix(' 0 min')}"


def _told(judged: Judged) -> str:
    if judged.verdict.result is Result.PASS:
        return "passed"
    return f"{judged.verdict.result}: {decided_by(judged) or judged.verdict.reason}"
