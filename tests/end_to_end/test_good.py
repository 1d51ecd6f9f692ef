"""A good version, by each strategy, under load: promoted, and nobody noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig import properties
from tests.rig.services import STRATEGIES, promises, shop
from tests.rig.stack import Davy
from tests.rig.stage import FIRST, Stage, Story

GOOD = "2.0"
CASES: dict[str, dict[str, Any]] = {
    **{name: {"strategy": name} for name in STRATEGIES},
    "two-at-once": {"strategy": "rolling", "replicas": 4, "max_unavailable": 1},
    "no-baseline": {"strategy": "canary", "baseline": False},
    "tried": {"strategy": "canary", "promote": False},
}


@pytest.fixture(scope="module")
def stories(davy: Davy) -> Iterator[dict[str, Story]]:
    """Each case's story, all released side by side."""
    contents = [
        shop(f"good-{name}", port=next(davy.ports), home=davy.home, **own) for name, own in CASES.items()
    ]
    with Stage(davy, contents) as stage:
        stage.release_all({f"good-{name}": GOOD for name in CASES})
        for name in CASES:
            stage.settle(f"good-{name}", FIRST if name == "tried" else GOOD)
        yield {name: stage.story(f"good-{name}") for name in CASES}


@pytest.fixture(params=CASES)
def story(request: pytest.FixtureRequest, stories: dict[str, Story]) -> Story:
    """One case's story."""
    return stories[request.param]


def test_the_first_version_comes_without_steps(story: Story) -> None:
    assert story.first.json["outcome"] == "Promoted"
    assert dict(story.looks[0].split) == {story.stable: 10_000}
    assert [*story.censuses[0].versions.values()] == [FIRST] * story.content["replicas"]


def test_it_is_promoted_or_tried(story: Story) -> None:
    tried = not story.content.get("promote", True)
    assert (story.said.code, story.said.json["outcome"]) == (0, "Tried" if tried else "Promoted")
    assert {one.version for one in story.requests[-20:]} == {FIRST if tried else GOOD}


def test_only_the_stable_version_is_left(story: Story) -> None:
    stable = FIRST if story.content.get("promote", True) is False else GOOD
    assert [*story.censuses[-1].versions.values()] == [stable] * story.content["replicas"]


def test_shares_add_up_and_go_to_healthy_replicas_only(story: Story) -> None:
    assert properties.wrong_sums(story.looks) == []
    assert properties.unhealthy_shares(story.looks) == []


def test_the_new_version_gets_the_steps_shares_and_no_others(story: Story) -> None:
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=True) == []
    assert properties.off_counts(story.requests, story.plateaus, story.old) == []


def test_no_request_fails(story: Story) -> None:
    assert story.users.requests > 100
    assert story.users.failures == ()
    assert [one for one in story.requests if one.failed] == []


def test_capacity_is_kept(story: Story) -> None:
    assert story.missing_capacity() == []
