"""What carries a release dies or freezes in a bake: it goes on or goes back, by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.rig import properties
from tests.rig.recorder import Look
from tests.rig.services import promises, shop
from tests.rig.stack import Davy, await_that
from tests.rig.stage import FIRST, Stage, Story

NEW = "2.0"
STEPS: dict[str, Any] = {"steps": [{"share": 20, "bake": "8s"}, {"share": 50, "bake": "4s"}]}
OUTCOMES = {"killed": "RolledBack", "resumed": "Promoted", "frozen": "RolledBack", "replica": "Promoted"}
"""By service: how its release ends, having lost its flow, its flow, its flow for a while, a stable replica."""
MARGIN = 15
"""Seconds that retiring may take on a busy machine."""


@dataclass(frozen=True)
class Loss:
    """Which process was killed or frozen, and when (epoch seconds)."""

    process: psutil.Process
    at: float


@dataclass(frozen=True)
class Scene:
    """What happened.

    Attributes:
        killed: When the stable replica was killed, epoch seconds.
        woken: What Prefect says of the flow that was frozen, once it has ended.
    """

    stories: Mapping[str, Story]
    killed: float
    woken: Mapping[str, Any]


@pytest.fixture(scope="module")
def scene(davy: Davy) -> Iterator[Scene]:
    """All releases side by side; each loses its part as soon as its candidate has its first share."""
    contents = [
        shop(name, strategy="canary", port=next(davy.ports), home=davy.home, **STEPS) for name in OUTCOMES
    ]
    contents[1]["on_crash"] = "resume"
    with Stage(davy, contents) as stage, ThreadPoolExecutor(len(OUTCOMES)) as pool:
        lost = dict(zip(OUTCOMES, pool.map(lambda name: lose(stage, name), OUTCOMES), strict=True))
        frozen, run = lost["frozen"].process, davy.run_of(lost["frozen"].process)["id"]
        for name in OUTCOMES:
            stage.end(name)
        frozen.resume()
        await_that(lambda: not frozen.is_running(), what="the woken flow ends")
        for name, outcome in OUTCOMES.items():
            stage.settle(name, NEW if outcome == "Promoted" else FIRST)
        stories = {name: stage.story(name) for name in OUTCOMES}
        yield Scene(stories, lost["replica"].at, davy.prefect_run(run))


def lose(stage: Stage, name: str) -> Loss:
    """Release a service, and let it lose its part as soon as its candidate has a share."""
    stage.begin(name, NEW)
    look = stage.await_share(name, "candidate", 2000)
    victim = replica(stage.davy, look) if name == "replica" else stage.davy.flow(name)
    at = time.time()
    victim.suspend() if name == "frozen" else victim.kill()
    return Loss(victim, at)


def replica(davy: Davy, look: Look) -> psutil.Process:
    """A replica of the stable version."""
    stable = next(slot for slot in look.split if slot in ("blue", "green"))
    port = next(iter(look.hosts[stable]))
    return next(p for p in davy.processes() if f"--port {port} " in " ".join(p.cmdline()))


@pytest.fixture(params=OUTCOMES)
def name(request: pytest.FixtureRequest) -> str:
    """One service."""
    return str(request.param)


@pytest.fixture
def story(name: str, scene: Scene) -> Story:
    """Its story."""
    return scene.stories[name]


def test_it_ends_as_the_service_file_says(name: str, story: Story) -> None:
    assert story.said.json["outcome"] == OUTCOMES[name], story.said
    assert story.said.code == (0 if OUTCOMES[name] == "Promoted" else 3)


def test_shares_stay_within_the_steps_and_on_healthy_replicas(name: str, story: Story) -> None:
    whole = OUTCOMES[name] == "Promoted"
    assert properties.wrong_sums(story.looks) == []
    assert properties.unhealthy_shares(story.looks) == []
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=whole) == []
    assert properties.off_counts(story.requests, story.plateaus, story.old) == []


def test_all_traffic_is_on_one_version_and_nothing_is_left_over(name: str, story: Story) -> None:
    promoted = OUTCOMES[name] == "Promoted"
    slot = next(iter(story.looks[-1].split))
    assert (slot == story.stable) != promoted
    assert properties.back_since(story.looks, slot) < story.said.at + 1
    expected = [NEW if promoted else FIRST] * story.content["replicas"]
    assert properties.left_over(story.censuses, expected, story.said.at + MARGIN) == []
    assert [*story.censuses[-1].versions.values()] == expected


def test_no_request_fails_but_in_flight_on_a_killed_replica(name: str, story: Story, scene: Scene) -> None:
    failed = [one for one in story.requests if one.failed]
    if name == "replica":
        failed = [one for one in failed if not scene.killed - 2 < one.at < scene.killed + 2]
    assert failed == []
    assert len(story.users.failures) == len([one for one in story.requests if one.failed])


def test_capacity_is_kept(name: str, story: Story, scene: Scene) -> None:
    del scene
    if name != "replica":
        assert story.missing_capacity() == []


def test_a_killed_replica_comes_back(scene: Scene) -> None:
    story = scene.stories["replica"]
    whole = [look.at for look in story.looks if look.healthy(story.stable) == 2]
    assert any(at > scene.killed + 1 for at in whole)


def test_a_flow_that_wakes_after_its_lease_is_lost_changes_nothing(scene: Scene) -> None:
    story = scene.stories["frozen"]
    assert story.plateaus[-1].share == 0
    assert scene.woken["state"]["name"] == "RolledBack"
