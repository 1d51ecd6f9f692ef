"""A part of the stack is killed in a bake: it comes back, the release goes on or goes back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from tests.rig import properties
from tests.rig.services import promises, shop
from tests.rig.stack import Davy, await_that
from tests.rig.stage import FIRST, Stage, Story

NEW = "2.0"
STEPS: dict[str, Any] = {
    "steps": [{"share": 20, "bake": "8s"}, {"share": 50, "bake": "3s"}],
    "baseline": False,
}
CASES: dict[str, Sequence[str]] = {
    "watcher": ["watcher"],
    "server": ["server"],
    "envoy": ["envoy"],
    "runner": ["runner"],
    "both": ["runner", "flow"],
}
"""By service, what its release loses while the candidate has its first share."""
AWAY = 8
"""Seconds in which a killed Envoy is back, and its users have been answered."""


@dataclass(frozen=True)
class Scene:
    """What happened, and when the parts were killed (epoch seconds)."""

    stories: Mapping[str, Story]
    killed: Mapping[str, float]


@pytest.fixture(scope="module")
def scene(davy: Davy) -> Iterator[Scene]:
    """One release after the other has begun before the one before it ends."""
    contents = [
        shop(name, strategy="canary", port=next(davy.ports), home=davy.home, **STEPS) for name in CASES
    ]
    killed = {}
    with Stage(davy, contents, rate=25) as stage:
        for name, parts in CASES.items():
            stage.begin(name, NEW)
            stage.await_share(name, "candidate", 2000)
            killed[name] = kill(davy, name, parts)
            stage.end(name)
            for part in parts:
                if part != "flow":
                    await_that(partial(davy.processes, part), what=f"{part} is back")
        for name in CASES:
            stage.await_census(name, FIRST if name == "both" else NEW)
        yield Scene({name: stage.story(name) for name in CASES}, killed)


def kill(davy: Davy, service: str, parts: Sequence[str]) -> float:
    """Kill parts of the stack, the flow of *service* being one; when."""
    victims = [davy.flow(service) if part == "flow" else davy.part(part) for part in parts]
    at = time.time()
    for victim in victims:
        victim.kill()
    return at


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    """One service."""
    return str(request.param)


@pytest.fixture
def story(name: str, scene: Scene) -> Story:
    """Its story."""
    return scene.stories[name]


def test_the_release_goes_on_unless_its_carrier_is_gone(name: str, story: Story) -> None:
    wanted = (3, "RolledBack") if name == "both" else (0, "Promoted")
    assert (story.said.code, story.said.json["outcome"]) == wanted, story.said


def test_shares_stay_within_the_steps_and_on_healthy_replicas(name: str, story: Story) -> None:
    assert properties.wrong_sums(story.looks) == []
    assert properties.unhealthy_shares(story.looks) == []
    whole = name != "both"
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=whole) == []


def test_no_request_fails_but_on_a_killed_proxy(story: Story, scene: Scene) -> None:
    away = scene.killed["envoy"]
    failures = [one for one in story.users.failures if not away - 5 < one.time.timestamp() < away + AWAY]
    assert failures == []
    assert [one for one in story.requests if one.failed and not away < one.at < away + AWAY] == []


def test_capacity_is_kept(story: Story) -> None:
    assert story.missing_capacity() == []


def test_a_proxy_that_comes_back_serves_the_split_that_it_had(scene: Scene) -> None:
    for story in scene.stories.values():
        before, after = next((a, b) for a, b in pairwise(story.looks) if b.at > scene.killed["envoy"] + 0.5)
        assert before.split == after.split
    gap = max(b.at - a.at for a, b in pairwise(scene.stories["envoy"].looks))
    assert gap < AWAY


def test_the_traffic_of_a_release_without_carrier_is_back_soon(scene: Scene) -> None:
    story = scene.stories["both"]
    assert properties.back_since(story.looks, story.stable) < scene.killed["both"] + 15 + 15
