"""The plan: what a release will do, before it does it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks.domain.plan import Plan, plan_of
from tasks.domain.spec import service_adapter


def plan(strategy: str, replicas: int = 4, **more: object) -> Plan:
    content = {
        "service": "shop",
        "strategy": strategy,
        "fleet": {"command": "serve"},
        "router": {"port": 8080},
    }
    return plan_of(service_adapter.validate_python(content | more), replicas)


def test_a_canary_holds_each_share_and_then_everything() -> None:
    found = plan("canary", watch="2m")
    assert [step.share for step in found.steps] == [500, 2500, 5000, 10_000]
    assert found.duration == timedelta(minutes=3 * 5 + 2)
    assert [step.replicas for step in found.steps] == [6, 6, 6, 10]
    assert "beside a baseline" in found.steps[0].what
    assert "beside stable" in found.steps[2].what


def test_a_canary_that_only_tries_never_moves_everything() -> None:
    found = plan("canary", promote=False, baseline=False)
    assert [step.share for step in found.steps] == [500, 2500, 5000]
    assert found.surge == 4 + 2


def test_a_baseline_that_stays_to_the_end_is_counted_while_all_traffic_moves() -> None:
    found = plan("canary", steps=[{"share": 5}, {"share": 25}])
    assert found.steps[-1].replicas == 2 * 4 + 1 + 1


def test_blue_green_runs_twice_as_many() -> None:
    found = plan("blue-green", watch="90s")
    assert [(step.share, step.replicas) for step in found.steps] == [(10_000, 8)]
    assert found.duration == timedelta(seconds=90)


def test_a_trickle_comes_before_everything() -> None:
    found = plan("blue-green-canary", trickle={"share": 2, "bake": "1m"}, watch="1m")
    assert [step.share for step in found.steps] == [200, 10_000]
    assert found.duration == timedelta(minutes=2)


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), ("25%", "25%")])
def test_rolling_stays_within_its_surge(surge: object, unavailable: object) -> None:
    found = plan("rolling", replicas=4, max_surge=surge, max_unavailable=unavailable)
    assert found.steps[-1].share == 10_000
    assert found.surge == 4 + (1 if surge else 0)
    assert found.duration == len(found.steps) * timedelta(minutes=1)


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary", "blue-green-canary"])
def test_a_mirror_is_held_before_any_share(strategy: str) -> None:
    found = plan(strategy, mirror={"bake": "3m"})
    assert (found.steps[0].share, found.steps[0].bake) == (0, timedelta(minutes=3))


def test_a_first_version_has_no_steps_to_hold() -> None:
    service = service_adapter.validate_python(
        {
            "service": "shop",
            "strategy": "canary",
            "replicas": 3,
            "fleet": {"command": "serve"},
            "router": {"port": 8080},
        }
    )
    found = plan_of(service, 3, first=True)
    assert (found.duration, found.surge) == (timedelta(0), 3)


def by_count(strategy: str, replicas: int = 4, **more: object) -> Plan:
    """The plan where the number of replicas is what splits requests."""
    kubernetes = {"fleet": {"kind": "kubernetes"}, "router": {"kind": "replicas"}}
    metrics = {"source": "prometheus", "url": "http://127.0.0.1:9090"}
    return plan(strategy, replicas, **kubernetes, analysis={"metrics": metrics}, **more)


def test_shares_by_count_are_those_that_replicas_give() -> None:
    found = by_count("canary")
    assert [step.share for step in found.steps] == [1666, 1666, 3333, 10_000]
    assert [step.beside for step in found.steps] == [1666, 1666, 6666, 0]
    nearest = "candidate beside a baseline (asked for 5%: the nearest that replicas give)"
    assert found.steps[0].what == nearest
    assert found.steps[3].what == "promoted: all traffic, watched"


def test_a_share_that_replicas_give_exactly_needs_no_words() -> None:
    found = by_count("canary", steps=[{"share": 25}, {"share": 100}], baseline=False, replicas=3)
    assert [(step.share, step.beside) for step in found.steps[:2]] == [(2500, 7500), (10_000, 0)]
    assert [step.what for step in found.steps[:2]] == ["candidate beside stable"] * 2


def test_a_trickle_by_count_is_half_of_all_requests() -> None:
    trickle, switched = by_count("blue-green-canary").steps
    assert (trickle.share, trickle.beside, switched.share) == (5000, 5000, 10_000)
    assert "asked for 5%" in trickle.what


def test_rolling_by_count_has_the_share_of_what_runs_while_it_is_held() -> None:
    service_order = [
        (step.share, step.beside) for step in by_count("rolling", max_surge=1, max_unavailable=0).steps
    ]
    assert service_order == [(2000, 8000), (4000, 6000), (6000, 4000), (10_000, 0)]
