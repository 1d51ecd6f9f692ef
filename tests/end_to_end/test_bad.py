"""A bad version, by each strategy, under load: taken back by itself, and only its own users noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig import properties
from tests.rig.services import promises, shop
from tests.rig.stack import Davy
from tests.rig.stage import FIRST, Stage, Story

SLOW = {"latency_p99": {"max": 250, "min_requests": 20}}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "errors": ("2.0-errors", "error_rate of ", {"strategy": "canary"}),
    "slow": (
        "2.0-slow",
        "latency_p99 of ",
        {"strategy": "blue-green-canary", "watch": "8s", "analysis": {"interval": "500ms", "limits": SLOW}},
    ),
    "leak": ("2.0-leak", "restarts of ", {"strategy": "rolling", "bake": "5s"}),
    "sick": (
        "2.0-sick",
        "answers 503 on /health",
        {"strategy": "blue-green", "ready": "8s"},
    ),
    "broken": ("2.0-broken", "found no setting PAYMENT_URL", {"strategy": "canary"}),
    "hook": ("2.0", "hook 'false': exit code 1", {"strategy": "canary", "hooks": {"before": ["false"]}}),
}
"""By name: the version, what the message says of it, and its service file."""
UNSEEN = ("sick", "broken", "hook")
"""Those that never get a request."""
REACTION = 5
"""Seconds that a dead replica of a bad version may have a share: two checks of Envoy's, one of the guard's."""
MARGIN = 10
"""Seconds that retiring may take on a busy machine."""


@pytest.fixture(scope="module")
def stories(davy: Davy) -> Iterator[dict[str, Story]]:
    """Each case's story, all released side by side."""
    contents = [
        shop(f"bad-{name}", port=next(davy.ports), home=davy.home, **own)
        for name, (_, _, own) in CASES.items()
    ]
    with Stage(davy, contents, rate=60, quiet=[f"bad-{name}" for name in UNSEEN]) as stage:
        stage.release_all({f"bad-{name}": version for name, (version, _, _) in CASES.items()})
        for name in CASES:
            stage.settle(f"bad-{name}", FIRST)
        yield {name: stage.story(f"bad-{name}") for name in CASES}


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    """One case."""
    return str(request.param)


@pytest.fixture
def story(name: str, stories: dict[str, Story]) -> Story:
    """Its story."""
    return stories[name]


def test_it_is_taken_back_and_the_message_says_why(name: str, story: Story) -> None:
    assert (story.said.code, story.said.json["outcome"]) == (3, "RolledBack")
    assert CASES[name][1] in story.said.json["message"]


def test_shares_add_up_and_go_to_healthy_replicas_only(name: str, story: Story) -> None:
    assert properties.wrong_sums(story.looks) == []
    assert properties.unhealthy_shares(story.looks, REACTION if name == "leak" else 0) == []


def test_the_new_version_gets_no_larger_share_than_its_step(name: str, story: Story) -> None:
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=False) == []
    assert properties.off_counts(story.requests, story.plateaus, story.old) == []
    assert (len(story.plateaus) == 1) == (name in UNSEEN)


def test_all_traffic_is_back_and_nothing_is_left_over(story: Story) -> None:
    assert properties.back_since(story.looks, story.stable) < story.said.at + 1
    delay = float(story.content["abort_scale_down_delay"].removesuffix("s"))
    expected = [FIRST] * story.content["replicas"]
    assert properties.left_over(story.censuses, expected, story.said.at + delay + MARGIN) == []
    assert [*story.censuses[-1].versions.values()] == expected


def test_only_the_bad_version_fails_requests(name: str, story: Story) -> None:
    failed = [one for one in story.requests if one.failed]
    assert properties.blameless(failed, story.old) == []
    assert len(story.users.failures) == len(failed)
    assert bool(failed) == (name in ("errors", "leak"))


def test_capacity_is_kept(name: str, story: Story) -> None:
    dying = {"blue": "green", "green": "blue"}[story.stable] if name == "leak" else ""
    assert story.missing_capacity(dying=dying) == []
