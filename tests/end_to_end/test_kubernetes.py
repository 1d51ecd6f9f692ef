"""Every strategy by every router on Kubernetes, under load: a good version is promoted, and nobody noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.end_to_end.conftest import Stages
from tests.rig import properties
from tests.rig.cluster.shops import bare
from tests.rig.cluster.stage import Cell
from tests.rig.services import STRATEGIES, Promise, promises
from tests.rig.stage import Story

GOOD = "2.0"
ROUTERS = ("istio", "gateway_api", "nginx", "replicas")
OWN: dict[tuple[str, str], dict[str, Any]] = {("canary", "nginx"): {"baseline": False}}
"""What a router cannot do otherwise."""
CELLS = [
    Cell(strategy, router, GOOD, OWN.get((strategy, router), {}), replicas=3 if strategy == "rolling" else 2)
    for router in ROUTERS
    for strategy in STRATEGIES
]
COUNTED = {
    "rolling": [Promise(3333, 0), Promise(6667, 0), Promise(10_000, 0)],
    "canary": [Promise(2500, 6), Promise(3333, 2), Promise(10_000, 4)],
    "blue-green-canary": [Promise(5000, 6), Promise(10_000, 4)],
}
"""What the counts of replicas give in place of the shares that are asked for: 1 of 4, 1 of 3, 2 of 4.

The second of a canary is there once the baseline has gone, some seconds after its bake has begun; those of a
rolling release once the old pods have gone, when their batch is judged: until then it is less."""


@dataclass(frozen=True)
class Told:
    """A cell's story, and the user's own route object before and after it."""

    story: Story
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module", params=ROUTERS)
def router(request: pytest.FixtureRequest) -> str:
    """One router."""
    return str(request.param)


@pytest.fixture(scope="module")
def told(stages: Stages, router: str) -> Iterator[dict[str, Told]]:
    """The router's cells, released side by side."""
    cells = [cell for cell in CELLS if cell.router == router]
    with stages(cells, rate=40) as stage:
        before = {cell.service: stage.route(cell.service) for cell in cells}
        stage.release_all()
        for cell in cells:
            stage.settle(cell.service, GOOD)
        yield {name: Told(stage.story(name), one, stage.route(name)) for name, one in before.items()}


@pytest.fixture(params=STRATEGIES)
def cell(router: str, request: pytest.FixtureRequest) -> Cell:
    """One strategy by the router."""
    return next(one for one in CELLS if (one.router, one.strategy) == (router, request.param))


@pytest.fixture
def story(cell: Cell, told: dict[str, Told]) -> Story:
    """Its story."""
    return told[cell.service].story


def test_it_is_promoted(story: Story) -> None:
    assert (story.said.code, story.said.json["outcome"]) == (0, "Promoted"), story.said
    assert {one.version for one in story.requests[-20:]} == {GOOD}


def test_only_the_new_version_is_left(cell: Cell, story: Story) -> None:
    assert [*story.censuses[-1].versions.values()] == [GOOD] * cell.replicas


def test_no_request_fails(story: Story) -> None:
    assert story.users.requests > 100
    assert story.users.failures == ()
    assert [one for one in story.requests if one.failed] == []


def test_shares_add_up_and_go_to_ready_pods_only(story: Story) -> None:
    assert properties.wrong_sums(story.looks) == []
    assert [look for look in story.looks if "nobody" in look.split] == []


def test_the_new_version_gets_the_steps_shares_and_no_others(cell: Cell, story: Story) -> None:
    by_count = cell.router == "replicas" and cell.strategy in COUNTED
    promised = COUNTED[cell.strategy] if by_count else promises(story.content)
    seen = whole_steps(story, promised) if by_count else story.plateaus
    assert properties.unpromised_shares(seen, promised, whole=True) == []
    assert properties.off_counts(story.requests, story.plateaus, story.old) == []


def whole_steps(story: Story, promised: list[Promise]) -> list[properties.Plateau]:
    """Without the shares that pass while pods come and go one by one, none of which may be above the next step's."""
    steps = [0, *(promise.share for promise in promised)]
    kept: list[properties.Plateau] = []
    for plateau in story.plateaus:
        if plateau.share in steps and plateau.share not in [one.share for one in kept]:
            kept.append(plateau)
        else:
            assert plateau.share <= steps[min(len(kept), len(steps) - 1)], plateau
    return kept


def test_capacity_is_kept(story: Story) -> None:
    assert story.missing_capacity() == []


def test_the_users_own_route_is_given_back_to_the_byte(cell: Cell, told: dict[str, Told]) -> None:
    """But for who has all requests: where the Service is the route, its selector says that."""
    one = told[cell.service]
    before, after = bare(one.before), bare(one.after)
    if cell.router == "replicas":
        before["spec"].pop("selector"), after["spec"].pop("selector")
    assert after == before
