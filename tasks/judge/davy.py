"""Judge: the davy judge, Kayenta's canary configs without the known faults of Kayenta's judge.

Each metric is asked two questions, for each direction that its config names: do its points lie
beyond the control's (ranks, after Mann and Whitney), and does it have more spikes (points far off
all others)? It fails when chance does not explain a yes and the size of the change is one that
the config does not allow. All questions of all metrics together err with `CHANCE`.

What is not known is never good: a metric passes only with enough points to have found a large
regression; else it is inconclusive, as is one that looks worse without proof.

Stricter than Kayenta's judge: spikes; changes of the median that the mean hides; values of tiny
scale; negative values; infinities, errors, missing groups and too few points never pass; gaps of a
metric that nobody measured are not filled. Milder: a metric among many needs more proof, and so
does one whose neighbours in time resemble each other; a handful of points fails nothing; a
critical metric without data is inconclusive, not failed, unless it must have data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.domain.canary import CanaryConfig, Thresholds
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair
from tasks.judge.davy_evidence import Evidence, Side, look
from tasks.judge.davy_score import score
from tasks.judge.davy_statistics import holm, points_needed, points_to_settle
from tasks.judge.davy_words import few, infinite, no_data, passed, worse
from tasks.judge.judgement import Classification, Judgement, MetricResult

CHANCE = 0.02
"""How likely chance alone may fail any metric of a good canary: 1 less Kayenta's confidence of 0.98
for one metric."""

DOUBT = 0.1
"""How likely chance alone may hold up a good canary; between the two a metric is inconclusive."""

SPIKES_PART = 0.75
"""Of a direction's part of `CHANCE`: spikes are few, and so is what they can prove, while ranks prove
more with every point. Then 5 spikes against none in 60 points fail a metric that stands alone."""

GROSS = 5
"""Times its control that a spiking metric may be, without proof, before it is in doubt whatever else is judged:
a twentieth of all points at a hundredfold, which no test can prove in 60 points."""

STRAY = 1 / 16
"""How likely chance alone must give so many spikes for `GROSS` to doubt: 3 against none do, 2 don't."""


@dataclass(frozen=True)
class _Answer:
    """One question, answered.

    Attributes:
        chance: The p-value that the question has alone.
        level: What that is held against when it is the most convincing one of all.
        adjusted: The p-value with all other questions in mind, held against `CHANCE`.
    """

    side: Side
    spikes: bool
    chance: float
    level: float
    adjusted: float

    @property
    def doubtful(self) -> bool:
        """It looks worse, without proof."""
        gross = self.spikes and self.side.rise.steady and abs(self.side.change.effect - 1) >= GROSS - 1
        return self.adjusted <= DOUBT or (gross and self.chance <= STRAY)


def judge_davy(
    config: CanaryConfig, pairs: Sequence[MetricPair], thresholds: Thresholds, *, seed: int = 0
) -> Judgement:
    """The verdict on *pairs*; metrics without a pair have no data.

    Args:
        seed: Only handed on: nothing is drawn.

    Raises:
        InputError: A pair's metric is not in the config, or a weight is not one; not retried.
    """
    seen = _look_at_all(config, pairs)
    results: dict[int, MetricResult] = {}
    for muted in (False, True):
        places = [place for place, one in enumerate(seen) if one.metric.muted is muted]
        results |= zip(places, _settle([seen[place] for place in places]), strict=True)
    numbered = [replace(results[place], id=str(place)) for place in range(len(seen))]
    return replace(score(config, numbered, thresholds), seed=seed)


def _look_at_all(config: CanaryConfig, pairs: Sequence[MetricPair]) -> list[Evidence]:
    """The pairs in their order, then metrics without one; of metrics of one name the first counts."""
    metrics = {metric.name: metric for metric in reversed(config.metrics)}
    for pair in pairs:
        if pair.name not in metrics:
            raise InputError(
                "pairs", pair.name, f"one of {', '.join(metric.name for metric in config.metrics)}"
            )
    named = {pair.name for pair in pairs}
    alone = [Evidence(metric) for metric in config.metrics if metric.name not in named]
    return [look(metrics[pair.name], pair) for pair in pairs] + alone


def _settle(family: Sequence[Evidence]) -> list[MetricResult]:
    """Classify metrics whose questions together may err with `CHANCE`; each direction gets an equal part."""
    directions = [(place, side) for place, one in enumerate(family) for side in one.sides]
    parts = [part / len(directions) for _ in directions for part in (1 - SPIKES_PART, SPIKES_PART)]
    chances = [chance for _, side in directions for chance in (side.rise.by_rank, side.rise.by_spikes)]
    adjusted = holm(chances, parts)
    answers = defaultdict(list)
    for number, (chance, part) in enumerate(zip(chances, parts, strict=True)):
        place, side = directions[number // 2]
        spikes = bool(number % 2)
        answers[place].append(_Answer(side, spikes, chance, CHANCE * part, float(adjusted[number])))
    return [_classify(one, answers[place]) for place, one in enumerate(family)]


def _classify(one: Evidence, answers: Sequence[_Answer]) -> MetricResult:
    if one.unable:
        needed = f"data that can be judged ({one.unable})"
        return _result(one, Classification.ERROR, f"{one.metric.name} was not judged: {one.unable}", needed)
    if not answers:
        label = Classification.NODATA_FAIL if one.metric.must_have_data else Classification.NODATA
        return _result(one, label, no_data(one), "data", critical=one.metric.must_have_data)
    harmful = [answer for answer in answers if answer.side.harmful]
    proven = [answer for answer in harmful if answer.adjusted <= CHANCE]
    if proven:
        side = proven[0].side
        return _result(one, side.label, _worse(one, proven), critical=side.critical)
    reason, needed = _open(one, [answer for answer in harmful if answer.doubtful], answers[0].level)
    return _result(one, Classification.INCONCLUSIVE if needed else Classification.PASS, reason, needed)


def _worse(one: Evidence, found: Sequence[_Answer]) -> str:
    """In words, about the first answer's side."""
    spikes = {answer.spikes for answer in found if answer.side is found[0].side}
    return worse(one, found[0].side, ranks=False in spikes, spikes=True in spikes)


def _open(one: Evidence, doubts: Sequence[_Answer], level: float) -> tuple[str, str]:
    """Why a metric that did not fail does not pass either, and what would settle it; empty when it passes.

    Args:
        level: What the most convincing answer by ranks would be held against.
    """
    name, points = one.metric.name, (one.experiment.count, one.control.count)
    even = 2 * points[0] * points[1] / sum(points)  # two series of this size would show as much
    least = points_needed(level)
    if any(one.infinite):
        return infinite(one), "finite values"
    if even < least:
        return f"{name} can't be told: {few(one, least)}", few(one, least)
    if doubts:
        more = min(points_to_settle(min(points), doubt.chance, doubt.level) for doubt in doubts)
        needed = f"about {more} points a side to tell it from chance, found {min(points)}"
        return f"{_worse(one, doubts)}; chance may explain it", needed
    return passed(one), ""


def _result(
    one: Evidence, label: Classification, reason: str, needed: str = "", *, critical: bool = False
) -> MetricResult:
    metric = one.metric
    return MetricResult(
        metric.name,
        id="",
        classification=label,
        reason=reason,
        tags=one.tags,
        groups=metric.groups,
        critical=metric.critical and critical,
        muted=metric.muted,
        experiment=one.experiment,
        control=one.control,
        ratio=one.ratio,
        interval=one.interval,
        effect=one.effect,
        needed=needed,
    )
