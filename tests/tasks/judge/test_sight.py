"""What a plan's steps are able to see, and what would let them see more."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from tasks.domain.model import Slot
from tasks.domain.plan import plan_of
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.judge.sight import Sight, Usual, sights_of, usual_of

BOUNDS = np.array([5.0, 10, 25, 50, 100, 250, 500, 1000, np.inf])
COUNTS = np.array([2000.0, 6000, 9000, 9700, 9900, 9950, 9990, 10_000, 10_000])


def service(steps: list[dict[str, object]], **compare: dict[str, float]) -> ServiceFile:
    content = {
        "service": "shop",
        "strategy": "canary",
        "replicas": 4,
        "fleet": {"command": "serve {port}"},
        "router": {"port": 18080},
        "steps": steps,
        "analysis": {"compare": compare},
    }
    return service_adapter.validate_python(content)


def see(one: ServiceFile, *, rate: float = 50, errors: float = 0.002) -> list[Sight]:
    usual = Usual(rate, errors, BOUNDS, COUNTS)
    return list(sights_of(one, plan_of(one, 4), usual))


def test_a_longer_bake_sees_a_smaller_regression() -> None:
    steps = [{"share": 5, "bake": "1m"}, {"share": 25, "bake": "10m"}]
    short, long = see(service(steps, error_rate={"tolerance": 20, "floor": 0.5}))
    assert (short.usual, short.unit) == (pytest.approx(0.2), "%")
    assert short.smallest
    assert long.smallest
    assert short.smallest > long.smallest > 0.5
    assert not short.is_blind


def test_a_step_that_is_too_short_says_how_long_it_would_have_to_bake_and_that_is_enough() -> None:
    compare = {"tolerance": 20, "floor": 0.5, "detect": 1.5}
    (blind,) = see(service([{"share": 10, "bake": "30s"}], error_rate=compare))
    assert blind.is_blind
    assert blind.bake
    assert blind.bake > timedelta(seconds=30)
    longer = f"{round(blind.bake.total_seconds() * 1.3)}s"
    (seeing,) = see(service([{"share": 10, "bake": longer}], error_rate=compare))
    assert not seeing.is_blind


def test_latencies_are_seen_in_milliseconds() -> None:
    (sight,) = see(service([{"share": 25, "bake": "10m"}], latency_p99={"tolerance": 25, "detect": 800}))
    assert sight.usual == pytest.approx(100)
    assert sight.smallest
    assert 125 < sight.smallest <= 800


def test_what_is_allowed_can_never_be_seen() -> None:
    compare = {"tolerance": 0, "floor": 5, "detect": 3}
    (sight,) = see(service([{"share": 25, "bake": "10m"}], error_rate=compare))
    assert sight.is_blind
    assert sight.bake is None


def test_without_traffic_nothing_is_known_and_what_is_asked_for_is_not_seen() -> None:
    one = service([{"share": 25, "bake": "10m"}], error_rate={"detect": 1})
    (sight,) = sights_of(one, plan_of(one, 4), None)
    assert (sight.usual, sight.smallest, sight.is_blind) == (None, None, True)


def test_the_usual_comes_from_stables_own_samples() -> None:
    at = pd.date_range("2026-03-01", periods=61, freq="1s", tz="UTC")
    columns = pd.MultiIndex.from_tuples([("blue", "requests"), ("blue", "errors"), ("green", "requests")])
    frame = pd.DataFrame([[50.0, 1.0, 7.0]] * 61, index=at, columns=columns)
    usual = usual_of(frame, Slot.BLUE)
    assert usual
    assert (usual.request_rate, usual.error_rate, len(usual.bounds)) == (50, pytest.approx(0.02), 0)
    assert usual_of(frame, Slot.CANDIDATE) is None
