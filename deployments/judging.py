"""`davy judge`: a canary config and metric pairs from files, put before a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.service_files import read_json
from tasks.domain.canary import Thresholds
from tasks.domain.errors import InputError
from tasks.domain.pairs import MetricPair, Values
from tasks.judge.canary import JUDGES, plain
from tasks.judge.canary_config import JUDGES as KAYENTAS
from tasks.judge.canary_config import read_config
from tasks.judge.intervals import few_points
from tasks.judge.judgement import Classification, GroupScore, Judgement, MetricResult, Score, Stats
from tasks.judge.words import number

EXIT_CODES = {Score.PASS: 0, Score.FAIL: 3, Score.MARGINAL: 5, Score.INCONCLUSIVE: 6}
COLOURS = {Score.PASS: "green", Score.FAIL: "red", Score.MARGINAL: "yellow", Score.INCONCLUSIVE: "yellow"}
_WRITTEN = {None: np.nan, "NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
"""What stands for numbers that JSON has no word for; the text is how Kayenta archives them."""


def judge_files(config: Path, pairs: Path, thresholds: Thresholds, judge: str, seed: int) -> Judgement:
    """Judge the metric pairs of one file by the canary config of another.

    Raises:
        InputError: A file or a threshold is wrong, or there is no such judge; not retried.
    """
    if judge not in JUDGES:
        raise InputError("--judge", judge, f"one of {', '.join(JUDGES)}")
    _check(thresholds)
    read, warnings = read_config(read_json(config, "CONFIG"), strict=judge == "davy")
    judgement = JUDGES[judge](read, read_pairs(read_json(pairs, "--pairs")), thresholds, seed=seed)
    few = few_points(read, judgement) if judge == "kayenta" else []
    return replace(judgement, warnings=(*warnings, *judgement.warnings, *few))


def _check(thresholds: Thresholds) -> None:
    for option, found in (("--pass", thresholds.passing), ("--marginal", thresholds.marginal)):
        if not 0 <= found <= 100:  # noqa: PLR2004 - a score
            raise InputError(option, found, "a score from 0 to 100")
    if thresholds.marginal > thresholds.passing:
        raise InputError("--marginal", thresholds.marginal, f"at most --pass, {thresholds.passing:g}")


def read_pairs(content: object) -> list[MetricPair]:
    """Metric pairs as Kayenta archives them: a list of name, tags and values by side; null is NaN.

    Raises:
        InputError: Something else; not retried.
    """
    if not isinstance(content, list):
        raise InputError("pairs", _kind(content), "a list of pairs")
    return [_pair(f"pairs.{place}", one) for place, one in enumerate(content)]


def _pair(where: str, content: object) -> MetricPair:
    pair = _object(where, content)
    name, tags = pair.get("name"), _object(f"{where}.tags", pair.get("tags") or {})
    if not isinstance(name, str):
        field = f"{where}.name"
        raise InputError(field, name, "a metric's name")
    values = _object(f"{where}.values", pair.get("values"))
    return MetricPair(
        name,
        _values(f"{where}.values.control", values.get("control")),
        _values(f"{where}.values.experiment", values.get("experiment")),
        {key: str(value) for key, value in tags.items()},
    )


def _object(where: str, content: object) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError(where, _kind(content), "an object")
    return content


def _values(where: str, content: object) -> Values:
    if not isinstance(content, list):
        raise InputError(where, _kind(content), "a list of numbers")
    if not {type(value) for value in content} <= {int, float}:
        content = [_value(f"{where}.{place}", value) for place, value in enumerate(content)]
    try:
        return np.array(content, dtype=np.float64)
    except OverflowError as error:
        raise InputError(where, "an integer of more than 308 digits", "numbers") from error


def _value(where: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if value is None or (isinstance(value, str) and value in _WRITTEN):
        return _WRITTEN[value]
    raise InputError(where, value, "a number, or null where there is none")


def _kind(content: object) -> str:
    """What sort of thing stands where another should."""
    names = {dict: "an object", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(content), "a number")


def to_json(judgement: Judgement) -> dict[str, Any]:
    """In Kayenta's own shape; what Kayenta does not have stands beside, and in ``resultMetadata``."""
    name = KAYENTAS[0] if judgement.judge == "kayenta" else judgement.judge
    score = {
        "score": judgement.score,
        "classification": judgement.classification,
        "classificationReason": judgement.reason,
    }
    result = {
        "judgeName": name,
        "score": score,
        "groupScores": [_group_json(group) for group in judgement.groups],
        "results": [_result_json(result) for result in judgement.results],
    }
    beside = {"judge": judgement.judge, "seed": judgement.seed, "warnings": judgement.warnings}
    return dict(plain({"judgeResult": result, **beside}))


def _group_json(group: GroupScore) -> dict[str, Any]:
    return {
        "name": group.name,
        "score": group.score or 0.0,
        "classification": "",
        "classificationReason": group.reason if group.score is None else "",
    }


def _result_json(result: MetricResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "id": result.id,
        "tags": result.tags,
        "classification": result.classification,
        "classificationReason": result.reason or None,
        "groups": result.groups,
        "critical": result.critical,
        "muted": result.muted,
        "experimentMetadata": {"stats": vars(result.experiment)},
        "controlMetadata": {"stats": vars(result.control)},
        "resultMetadata": {
            "ratio": result.ratio,
            "effect": result.effect,
            "interval": vars(result.interval) if result.interval else None,
            "needed": result.needed or None,
        },
    }


def print_judgement(console: Console, judgement: Judgement, thresholds: Thresholds) -> None:
    """For people: the verdict in a sentence, then groups and metrics."""
    colour = COLOURS[judgement.classification]
    console.print(
        f"[bold {colour}]{judgement.classification}[/], by the {judgement.judge} judge: {escape(judgement.reason)}",
        soft_wrap=True,
    )
    console.print(
        f"score {judgement.score:g} of 100; {thresholds.passing:g} passes, {thresholds.marginal:g} is marginal",
        style="dim",
    )
    if judgement.groups:
        console.print(_group_table(judgement.groups))
    if judgement.results:
        console.print(_result_table(judgement.results))
    for result in judgement.results:
        if result.classification is not Classification.PASS:
            console.print(f"{result.classification}: {escape(result.reason or result.name)}", soft_wrap=True)
    for warning in judgement.warnings:
        console.print(f"[yellow]![/] {escape(warning)}")


def _group_table(groups: Sequence[GroupScore]) -> Table:
    table = Table("group", "score", "", box=None, header_style="dim")
    for group in groups:
        table.add_row(
            escape(group.name), "-" if group.score is None else number(group.score), escape(group.reason)
        )
    return table


def _result_table(results: Sequence[MetricResult]) -> Table:
    columns = ("metric", "verdict", "ratio", "shift", "experiment mean (points)", "control")
    table = Table(*columns, box=None, header_style="dim")
    for result in results:
        table.add_row(*map(escape, _row(result)), style="dim" if result.muted else None)
    return table


def _row(result: MetricResult) -> tuple[str, ...]:
    tags = ", ".join(f"{key}={value}" for key, value in sorted(result.tags.items()))
    marks = [name for name, holds in (("critical", result.critical), ("muted", result.muted)) if holds]
    shift = result.interval
    return (
        f"{result.name} {{{tags}}}" if tags else result.name,
        " ".join([result.classification, *(f"({mark})" for mark in marks)]),
        "-" if result.ratio is None else number(result.ratio),
        f"{number(shift.lower)} to {number(shift.upper)}" if shift else "-",
        _told(result.experiment),
        _told(result.control),
    )


def _told(stats: Stats) -> str:
    return f"{number(stats.mean)} ({stats.count})" if stats.count else "no data"
