"""Parts of the stack are killed in a bake: they come back, and the release goes on or goes back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from tests.rig import properties
from tests.rig.services import promises, shop
from tests.rig.stack import Davy, await_that
from tests.rig.stage import FIRST, Stage, Story

NEW = "2.0"
STEPS: dict[str, Any] = {"steps": [{"share": 20, "bake": "40s"}], "baseline": False}
OUTCOMES = {"carried": "Promoted", "dropped": "RolledBack"}
"""By service: how its release ends. All lose the parts; ``dropped`` loses its flow with the runner."""
PARTS = ("watcher", "envoy", "runner", "server")
"""What is killed, in this order."""
AWAY = 10
"""Seconds in which a killed Envoy is back, and its users have been answered."""
EXPIRY = 15
"""Seconds after which a lease that nobody renews has expired."""
MARGIN = 15
"""Seconds that going back may take on a busy machine."""


@dataclass(frozen=True)
class Scene:
    """What happened, and by part when it was killed (epoch seconds)."""

    stories: Mapping[str, Story]
    killed: Mapping[str, float]


@pytest.fixture(scope="module")
def scene(davy: Davy) -> Iterator[Scene]:
    """Both releases side by side; the parts die one after the other, each once the last one is back."""
    contents = [
        shop(name, strategy="canary", port=next(davy.ports), home=davy.home, **STEPS) for name in OUTCOMES
    ]
    with Stage(davy, contents) as stage:
        for name in OUTCOMES:
            stage.begin(name, NEW)
        for name in OUTCOMES:
            stage.await_share(name, "candidate", 2000)
        killed = {part: kill(davy, part) for part in PARTS}
        for name, outcome in OUTCOMES.items():
            stage.end(name)
            stage.settle(name, NEW if outcome == "Promoted" else FIRST)
        yield Scene({name: stage.story(name) for name in OUTCOMES}, killed)


def kill(davy: Davy, part: str) -> float:
    """Kill a part of the stack, and return once another one is there; when."""
    victims = [davy.part(part)]
    if part == "runner":
        victims.append(davy.flow("dropped"))
    at = time.time()
    for victim in victims:
        victim.kill()
    others = {victim.pid for victim in victims}
    await_that(lambda: {process.pid for process in davy.processes(part)} - others, what=f"{part} is back")
    return at


@pytest.fixture(params=OUTCOMES)
def name(request: pytest.FixtureRequest) -> str:
    """One service."""
    return str(request.param)


@pytest.fixture
def story(name: str, scene: Scene) -> Story:
    """Its story."""
    return scene.stories[name]


def test_the_release_goes_on_unless_its_carrier_is_gone(name: str, story: Story) -> None:
    code = {"Promoted": 0, "RolledBack": 3}[OUTCOMES[name]]
    assert (story.said.code, story.said.json["outcome"]) == (code, OUTCOMES[name]), story.said


def test_shares_stay_within_the_steps_and_on_healthy_replicas(name: str, story: Story) -> None:
    whole = OUTCOMES[name] == "Promoted"
    assert properties.wrong_sums(story.looks) == []
    assert properties.unhealthy_shares(story.looks) == []
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=whole) == []


def test_no_request_fails_but_on_a_killed_proxy(story: Story, scene: Scene) -> None:
    away = scene.killed["envoy"]
    failures = [one for one in story.users.failures if not away - 1 < one.time.timestamp() < away + AWAY]
    assert failures == []
    assert [one for one in story.requests if one.failed and not away - 1 < one.at < away + AWAY] == []


def test_capacity_is_kept(story: Story) -> None:
    assert story.missing_capacity() == []


def test_a_proxy_that_comes_back_serves_the_split_that_it_had(story: Story, scene: Scene) -> None:
    gaps = [(a, b) for a, b in pairwise(story.looks) if b.at > scene.killed["envoy"]]
    before, after = next((a, b) for a, b in gaps if b.at - a.at > 5 * 0.05)
    assert before.split == after.split
    assert after.at - before.at < AWAY


def test_the_traffic_of_a_release_without_carrier_is_back_soon(scene: Scene) -> None:
    story = scene.stories["dropped"]
    assert properties.back_since(story.looks, story.stable) < scene.killed["runner"] + EXPIRY + MARGIN
