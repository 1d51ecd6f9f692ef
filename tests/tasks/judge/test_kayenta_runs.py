"""Kayenta's own figures of several judgements, and of how series become pairs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import isnan

import pytest

from tasks.domain.errors import InputError
from tasks.domain.pairs import Series
from tasks.judge.intervals import Schedule, Window, final_score, in_order
from tasks.judge.judgement import Score
from tasks.judge.pairing import pair_one, pairs_of
from tests.rig.vectors import MISSING, RUNS, Check, Given, as_list, check, of_kinds, values

pytestmark = MISSING

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def passed(inputs: Given, params: Given) -> Mapping[str, object]:
    found = final_score(inputs["canaryScores"], params["pass"], params["marginal"])
    return {
        "didPassThresholds": found is Score.PASS,
        "status": "SUCCEEDED" if found is Score.PASS else "TERMINAL",
    }


def minutes(value: object) -> timedelta:
    """Null and empty text mean that a field is not set."""
    return (
        timedelta(minutes=int(value or 0)) if isinstance(value, str | int) or value is None else timedelta(0)
    )


def spans(windows: tuple[Window, ...]) -> list[list[float]]:
    return [
        [(at - NOW) / timedelta(minutes=1) for at in (window.experiment.start, window.experiment.end)]
        for window in windows
    ]


def lifetime(inputs: Given, params: Given) -> Mapping[str, object]:
    end = inputs["end_min"]
    life = params.get("lifetimeDurationMins")
    schedule = Schedule(NOW, None if end is None else NOW + minutes(end), life and minutes(life))
    try:
        return {"minutes": schedule.length / timedelta(minutes=1)}
    except InputError:
        return {"error": True}


def numbered_windows(inputs: Given, params: Given) -> Mapping[str, object]:
    numbers, interval = inputs["judgementNumbers"], minutes(params["intervalMins"])
    end = params.get("end_min")
    schedule = Schedule(
        NOW + timedelta(minutes=params.get("start_min", 0)),
        None if end is None else NOW + minutes(end),
        interval * max(numbers),
        interval,
        minutes(params.get("beginAfterMins")),
        minutes(params.get("lookbackMins")),
    )
    return {"windows_min": spans(schedule.windows())[: max(numbers)]}


def one_window(inputs: Given, params: Given) -> Mapping[str, object]:
    interval = minutes(params["intervalMins"])
    offset = minutes(params.get("controlOffsetInMinutes"))
    start = datetime.fromisoformat(params["startTimeIso"])
    schedule = Schedule(start, lifetime=interval * 5, interval=interval, control_offset=offset)
    window = schedule.windows()[inputs["judgementNumber"] - 1]
    starts = {"start": window.experiment.start, "end": window.experiment.end}
    starts |= {"experiment_start": window.experiment.start, "control_start": window.control.start}
    return {key: at.isoformat(timespec="milliseconds").replace("+00:00", "Z") for key, at in starts.items()}


def orca(inputs: Given, params: Given) -> Schedule:
    """A stage of four hours, or of one without an end, unless the vector says how long."""
    given = inputs["startEndGiven"]
    length = minutes(inputs.get("lifetimeMins", 240 if given else 60))
    return Schedule(
        NOW,
        NOW + length if given else None,
        length,
        minutes(params.get("canaryAnalysisIntervalMins")),
        minutes(params.get("beginCanaryAnalysisAfterMins")),
        minutes(params.get("lookbackMins")),
        minutes(params.get("baselineAnalysisOffsetInMins")),
    )


def interval_windows(inputs: Given, params: Given) -> Mapping[str, object]:
    return {"windows_min": spans(orca(inputs, params).windows()), "step_s": 60}


def stages(inputs: Given, params: Given) -> Mapping[str, object]:
    schedule = orca(inputs, params)
    steps = ["runCanary" if isinstance(step, Window) else "wait" for step in schedule.steps()]
    (window,) = schedule.windows()
    return {"stage_types": steps, "control_start_min": (window.control.start - NOW) / timedelta(minutes=1)}


FAULTS = {
    "Control metric set name was not set": "control.name",
    "Experiment metric set name was not set": "experiment.name",
    "does not match experiment metric set name": "experiment.name",
    "different tag keys": "experiment.tags",
    "No control metrics found": "control",
    "No experiment metrics found": "experiment",
}
"""Which field we say is at fault where Kayenta says so."""


class Said:
    """What we say of a fault: as good as any of Kayenta's words for the same field."""

    def __init__(self, error: InputError) -> None:
        self.field = error.field

    def __eq__(self, other: object) -> bool:
        return other is True or FAULTS.get(str(other)) == self.field

    __hash__ = None


def series(one: Given) -> Series:
    return Series(one["name"] or "", one["tags"], values(one["values"]))


def mixed_one(inputs: Given, _params: Given) -> Mapping[str, object]:
    control = inputs["control"]
    points = (control.get("endTimeMillis", 0) - control.get("startTimeMillis", 0)) // control.get(
        "stepMillis", 1
    )
    try:
        pair = pair_one(series(control), series(inputs["experiment"]), points=points)
    except InputError as error:
        return {"error": Said(error)}
    sides = {"control": as_list(pair.control), "experiment": as_list(pair.experiment)}
    return {"name": pair.name, "tags": dict(pair.tags), "values": sides}


def mixed_all(inputs: Given, _params: Given) -> Mapping[str, object]:
    sides = [[series(one) for one in inputs[side]] for side in ("control", "experiment")]
    try:
        pairs = [pair for name in inputs["metricNames"] for pair in pairs_of(name, *sides)]
    except InputError as error:
        return {"error": Said(error)}
    told = [
        {
            "name": pair.name,
            "tags": dict(pair.tags),
            "control": as_list(pair.control),
            "experiment": as_list(pair.experiment),
        }
        for pair in pairs
    ]
    return {"pairs": told}


def parsed_and_mixed(inputs: Given, _params: Given) -> Mapping[str, object]:
    """The pairing; tests/tasks/metrics covers the parsing."""
    sides = [
        [Series("m", one["metric"], values([point[1] for point in one["values"]])) for one in found]
        for found in (inputs[f"{side}_response"]["data"]["result"] for side in ("control", "experiment"))
    ]
    pairs = pairs_of("m", *sides, points=3)
    assert [len(pair.control) for pair in pairs] == [3]
    assert isnan(pairs[0].control[-1])
    return {"pairs": len(pairs)}


CHECKS: dict[str, Check] = {
    "aggregate_status": passed,
    "aggregated_judgement": passed,
    "baseline_offset": stages,
    "interval_windows": interval_windows,
    "judgement_window_iso": one_window,
    "judgement_windows": numbered_windows,
    "lifetime_minutes": lifetime,
    "mix_all": mixed_all,
    "mix_one": mixed_one,
    "prometheus_parse_and_mix": parsed_and_mixed,
    "request_scope_offset": one_window,
    "sort_run_stages": lambda i, _: {"order": in_order(i["stageNames"])},
    "stage_sequence": stages,
}
"""By kind of vector, what gives the figures that it asserts."""


def test_every_kind_is_covered() -> None:
    assert CHECKS.keys() == RUNS


@pytest.mark.parametrize("vector", of_kinds(CHECKS))
def test_a_figure_is_kayentas(vector: Given) -> None:
    check(vector, CHECKS)
