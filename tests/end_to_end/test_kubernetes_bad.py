"""A bad version on Kubernetes, by an identity that may do what the roles in infra/ say and nothing else.

It is taken back by itself, only its own users noticed, and the user's objects are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import Stages
from tests.rig import properties
from tests.rig.cluster.shops import bare
from tests.rig.cluster.stage import FIRST, Cell
from tests.rig.services import promises
from tests.rig.stage import Story

SLOW = {"latency_p99": {"max": 250, "min_requests": 20}}
CELLS = {
    "errors": (Cell("canary", "istio", "2.0-errors", name="bad-errors"), "error_rate of "),
    "slow": (Cell("blue-green-canary", "gateway_api", "2.0-slow", name="bad-slow"), "latency_p99 of "),
    "sick": (Cell("blue-green", "nginx", "2.0-sick", name="bad-sick"), "0 of 2 replicas healthy after "),
    "broken": (
        Cell("rolling", "replicas", "2.0-broken", replicas=3, name="bad-broken"),
        "waiting won't help: Pod/",
    ),
    "down": (Cell("canary", "gateway_api", "2.0-down", name="bad-down"), "error_rate of "),
}
"""By name: the service, and what the message says of it."""
UNSEEN = ("sick", "broken")
"""Those that never get a request."""
MARGIN = 20
"""Seconds that retiring may take on a busy machine."""


@pytest.fixture(scope="module")
def told(stages: Stages) -> Iterator[dict[str, tuple[Story, bool]]]:
    """Each story, and whether the user's own route object is as it was."""
    cells = [Cell(**{**cell.__dict__, "own": _own(name)}) for name, (cell, _) in CELLS.items()]
    with stages(cells, rate=40, identity="limited") as stage:
        before = {cell.service: bare(stage.route(cell.service)) for cell in cells}
        stage.release_all()
        for cell in cells:
            stage.settle(cell.service, FIRST)
        yield {
            name: (stage.story(cell.service), bare(stage.route(cell.service)) == before[cell.service])
            for name, (cell, _) in CELLS.items()
        }


def _own(name: str) -> dict[str, object]:
    analysis = {"analysis": {"limits": SLOW}} if name == "slow" else {}
    fleet = {"fleet": {"ready_within": "8s"}} if name == "sick" else {}
    watch = {"watch": "8s"} if name == "slow" else {}
    return analysis | fleet | watch


@pytest.fixture(params=CELLS)
def name(request: pytest.FixtureRequest) -> str:
    """One bad version."""
    return str(request.param)


@pytest.fixture
def story(name: str, told: dict[str, tuple[Story, bool]]) -> Story:
    """Its story."""
    return told[name][0]


def test_it_is_taken_back_and_the_message_says_why(name: str, story: Story) -> None:
    assert (story.said.code, story.said.json["outcome"]) == (3, "RolledBack"), story.said
    assert CELLS[name][1] in story.said.json["message"]


def test_all_traffic_is_back_and_nothing_is_left_over(story: Story) -> None:
    assert properties.back_since(story.looks, story.stable) < story.said.at + 1
    expected = [FIRST] * story.content["replicas"]
    assert properties.left_over(story.censuses, expected, story.said.at + 2 + MARGIN) == []
    assert [*story.censuses[-1].versions.values()] == expected


def test_the_new_version_gets_no_larger_share_than_its_step(name: str, story: Story) -> None:
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=False) == []
    assert (len(story.plateaus) == 1) == (name in UNSEEN)


def test_only_the_bad_version_fails_requests(story: Story) -> None:
    failed = [one for one in story.requests if one.failed]
    assert properties.blameless(failed, story.old) == []


def test_the_users_own_route_is_as_it_was(name: str, told: dict[str, tuple[Story, bool]]) -> None:
    assert told[name][1]
