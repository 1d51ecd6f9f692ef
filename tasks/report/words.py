"""What a release did, in words for a person who has never seen Davy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import isfinite, isnan

from tasks.domain.acts import OVERRIDES
from tasks.domain.analysis import Limit
from tasks.domain.gates import place_of
from tasks.domain.model import Finding, Outcome, Result, Slot
from tasks.domain.units import WHOLE, to_percent
from tasks.judge.judgement import Classification, Judgement
from tasks.judge.words import UNITS
from tasks.record import Record
from tasks.report.judged import Compared, Judged, base, new_share

CANARY = "canary score"
"""What a judge of canary configs calls its finding."""
SAID = {
    "error_rate": "{} of its requests failed",
    "request_rate": "it answered {}",
    "latency_p50": "half of its requests took more than {}",
    "latency_p90": "one in ten of its requests took more than {}",
    "latency_p95": "one in twenty of its requests took more than {}",
    "latency_p99": "one in a hundred of its requests took more than {}",
}
"""What a metric's value means."""
TITLES = {
    "error_rate": "Failed requests",
    "request_rate": "Requests",
    "latency_p50": "Response time, half of requests (p50)",
    "latency_p90": "Response time, slowest tenth (p90)",
    "latency_p95": "Response time, slowest twentieth (p95)",
    "latency_p99": "Response time, slowest hundredth (p99)",
    "restarts": "Deaths of replicas",
    "split": "Traffic split",
    CANARY: "Canary analysis",
}
BAD = {
    Classification.HIGH: "is too high",
    Classification.LOW: "is too low",
    Classification.NODATA_FAIL: "has no data",
    Classification.ERROR: "could not be judged",
}
"""What brings a score down."""
LONGEST = 240
"""Characters of somebody else's message in a sentence."""


def headline(record: Record, judged: Sequence[Judged], deciding: Judged | None) -> str:
    """How the release went, in one sentence.

    Args:
        judged: All verdicts.
        deciding: The one that took it back.
    """
    opening, outcome = record.opening, record.outcome
    name = f"{opening.service.service} {opening.version}"
    if outcome is Outcome.PROMOTED:
        return f"{name} has all traffic{_clock(record)}{_passed(record, judged)}."
    if outcome is Outcome.TRIED:
        return f"{name} was tried with up to {share(_largest(record))} of the traffic and passed; as agreed it was then removed{_safe(record)}."
    why = cause(record, deciding)
    if outcome is Outcome.FROZEN:
        return f"{name} failed and was left as it is for a person to look at{_moment(record)}: {why}."
    if record.reverting:
        verb = "is being taken back" if record.ended is None else "was taken back"
        return f"{name} {verb}{_moment(record)}: {why}{_safe(record)}."
    if outcome:
        return f"{name} ended as {outcome}: {why}."
    return under_way(record, name)


def under_way(record: Record, name: str) -> str:
    """How far a release is that has not ended."""
    if record.gate:
        return f"{name} waits for approval {place_of(record.gate.point)}."
    now = new_share(record, record.traffic.split.to_json()) if record.traffic else 0
    return f"{name} is being released and has {share(now)} of the traffic now."


def cause(record: Record, deciding: Judged | None) -> str:
    """Why a release did not go on, without a full stop."""
    if record.abort_asked and record.outcome is Outcome.ABORTED:
        return f"{record.abort_asked.data['by']} asked for it"
    if deciding and (told := decided_by(deciding)):
        return told
    ended = record.ended.data["message"] if record.ended else ""
    reason = str(record.reverting.data["reason"] if record.reverting else ended)
    plain = reason.splitlines()[0] if reason.strip() else "no reason was given"
    subject, _, rest = plain.partition(": ")
    plain = rest if rest and subject.startswith(f"{record.service.service}/") else plain
    return plain.rstrip(".") if len(plain) <= LONGEST else f"{plain[:LONGEST].rstrip()} ..."


def decided_by(judged: Judged) -> str:
    """The findings that made *judged* what it is, one for each metric; empty when there are none."""
    first = {base(finding.metric): finding for finding in reversed(judged.deciding)}
    return "; ".join(plain(finding, judged) for finding in reversed(first.values()))


def plain(finding: Finding, judged: Judged) -> str:
    """A finding of *judged* as one would tell it."""
    metric, limit = base(finding.metric), judged.limits.get(finding.metric)
    if judged.judgement and metric == CANARY:
        return scored(judged.judgement, judged.needed)
    if finding.result is Result.INCONCLUSIVE:
        return f"it could not be judged, because {finding.reason}"
    if metric != finding.metric:
        worse = [one for one in judged.compared if one.metric == metric and one.is_worse]
        return besides(worse[0]) if worse else finding.reason
    if finding.value is None or limit is None:
        return finding.reason
    if metric == "restarts":
        return _died(finding.value, limit)
    said = SAID[metric].format(quantity(metric, finding.value))
    return f"{said}, {_allowed(metric, limit)}"


def besides(worse: Compared) -> str:
    """A comparison that the candidate has lost."""
    mine = SAID[worse.metric].format(quantity(worse.metric, worse.candidate.value))
    theirs = quantity(worse.metric, worse.other.value)
    beside = "of the old version beside it" if worse.against == Slot.BASELINE else "of the old version"
    most = f", at most {quantity(worse.metric, worse.bound)} allowed" if isfinite(worse.bound) else ""
    return f"{mine}, against {theirs} {beside} at the same time{most}"


def scored(judgement: Judgement, needed: float | None) -> str:
    """A judgement's score, and the metrics that brought it down."""
    score = f"its metrics scored {number(judgement.score)} of 100 beside the old version's"
    least = "" if needed is None else f", at least {number(needed)} needed"
    bad = dict.fromkeys(
        f"{one.name} {BAD[one.classification]}" for one in judgement.results if one.classification in BAD
    )
    return f"{score}{least}{' (' if bad else ''}{', '.join(bad)}{')' if bad else ''}"


def _died(value: float, limit: Limit) -> str:
    died = "one of its processes died" if value == 1 else f"its processes died {number(value)} times"
    return (
        f"{died}, {'none is allowed to' if not limit.max else f'at most {number(limit.max)} are allowed to'}"
    )


def _allowed(metric: str, limit: Limit) -> str:
    bounds = (("at least", limit.min), ("at most", limit.max))
    told = [f"{words} {quantity(metric, bound)}" for words, bound in bounds if bound is not None]
    return f"{' and '.join(told)} allowed"


def quantity(metric: str, value: float) -> str:
    """A value with its unit, three digits."""
    return f"{number(value)}{UNITS.get(metric, '')}".replace(" /s", " requests a second")


def number(value: float) -> str:
    """Three digits, or all of a whole number's; a dash for what is not known."""
    if isnan(value):
        return "-"
    if not isfinite(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - whole from there on


def share(points: int) -> str:
    """Basis points as percent."""
    return f"{to_percent(points):g} %"


def span(value: timedelta) -> str:
    """A duration as one says it."""
    seconds = value.total_seconds()
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _largest(record: Record) -> int:
    return max((new_share(record, line.data["split"]) for line in record.all("live")), default=0)


def _moment(record: Record) -> str:
    """How long the new version had had its last share when the way back began, or the end came."""
    word = record.reverting or record.ended
    live = [line for line in record.all("live") if word and line.at <= word.at]
    had = new_share(record, live[-1].data["split"]) if live else 0
    if not word or not had:
        return " before it had any traffic"
    return f" after {span(word.at - live[-1].at)} at {share(had)}"


def _safe(record: Record) -> str:
    """Where users are now."""
    stable = record.opening.stable
    live = record.last("live")
    if stable is None or record.ended is None:
        return ""
    if live is None or not _largest(record):
        return f"; all traffic stayed on {stable.version}"
    if live.data["split"].get(stable.slot) != WHOLE:
        return ""
    return f"; all traffic is on {stable.version} again since {live.at:%H:%M:%S} UTC"


def _clock(record: Record) -> str:
    whole = [line for line in record.all("live") if new_share(record, line.data["split"]) == WHOLE]
    return f" since {whole[0].at:%H:%M:%S} UTC" if whole else ""


def _passed(record: Record, judged: Sequence[Judged]) -> str:
    if record.opening.stable is None:
        return "; it is the first version, so there was nothing to compare it with"
    good = dict.fromkeys(share(one.share) for one in judged if one.verdict.result is Result.PASS)
    told = f"; it was judged at {_listed([*good])} and nothing spoke against it" if good else ""
    skipped = dict.fromkeys(
        f"{line.data['by']} ({line.key} at {line.data['place'] or 'no step'})"
        for line in record.all("act")
        if line.key in OVERRIDES
    )
    return f"{told}; not all of it was judged, because of {_listed([*skipped])}" if skipped else told


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
