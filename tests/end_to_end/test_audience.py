"""Who reaches the new version: testers and copies before users, and each user always the same one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.rig.recorder import ask
from tests.rig.services import shop
from tests.rig.stack import Davy, await_that
from tests.rig.stage import FIRST, Stage, Story

NEW = "2.0"
TESTER = {"x-tester": "yes"}
TESTED = 10
"""How often a tester asks."""
USERS = 40


class User:
    """Somebody who keeps their cookie; by share of the candidate, the version that answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookie: dict[str, str] = {}
        self.met: dict[int, str] = {}

    def visit(self, share: int) -> None:
        """Ask for the products while the candidate has *share*."""
        _, _, headers = ask(self._port, "/products", self._cookie)
        if "set-cookie" in headers:
            self._cookie = {"cookie": headers["set-cookie"].partition(";")[0]}
        self.met[share] = headers["x-version"]


@dataclass(frozen=True)
class Scene:
    """What happened to two services.

    Attributes:
        testers: Versions that testers met before users did.
        copies: Requests that the new version got, testers' and copies, before it had a share.
        looked: The service with testers and copies.
        kept: The service that keeps its users.
    """

    testers: list[str]
    copies: int
    looked: Story
    kept: Story
    users: list[User]


@pytest.fixture(scope="module")
def scene(davy: Davy) -> Iterator[Scene]:
    """Both released side by side."""
    mirror: dict[str, Any] = {
        "mirror": {"share": 100, "bake": "5s"},
        "matches": [{"header": "x-tester", "value": "yes"}],
    }
    steps: dict[str, Any] = {
        "steps": [{"share": 30, "bake": "5s"}, {"share": 60, "bake": "5s"}],
        "baseline": False,
    }
    looks, keeps = next(davy.ports), next(davy.ports)
    contents = [
        shop("looks", strategy="canary", port=looks, home=davy.home, **mirror),
        shop("keeps", strategy="canary", port=keeps, home=davy.home, affinity={"cookie": "davy"}, **steps),
    ]
    users = [User(keeps) for _ in range(USERS)]
    with Stage(davy, contents) as stage:
        stage.begin("keeps", NEW)
        stage.begin("looks", NEW)
        await_that(lambda: ask(looks, "/products", TESTER)[2]["x-version"] == NEW, what="a tester meets 2.0")
        testers = [ask(looks, "/products", TESTER)[2]["x-version"] for _ in range(TESTED)]
        copies = await_that(lambda: copied(davy, "looks"), what="copies")
        assert "candidate" not in stage.recorder.looks["looks"][-1].split
        for share in (3000, 6000):
            stage.await_share("keeps", "candidate", share)
            for user in users:
                user.visit(share)
        for service in ("keeps", "looks"):
            stage.end(service)
        yield Scene(testers, copies, stage.story("looks"), stage.story("keeps"), users)


def copied(davy: Davy, service: str) -> int:
    """How many requests the candidate's replicas got, once copies must be among them."""
    name = rf"^cluster\.{service}/candidate(/mirror)?\.upstream_rq_total$"
    text = ask(davy.envoy_port, f"/stats?filter={quote(name)}")[1]
    found = sum(int(line.rpartition(" ")[2]) for line in text.splitlines())
    return found if found > TESTED + 50 else 0


def test_testers_and_copies_reach_the_new_version_before_users(scene: Scene) -> None:
    first = scene.looked.plateaus[1].start
    before = [one for one in scene.looked.requests if one.at < first - 0.1]
    assert scene.testers == [NEW] * TESTED
    assert scene.copies > TESTED
    assert {one.version for one in before if not one.kind} == {FIRST}
    assert {one.version for one in before if one.kind == "sent"} == {NEW}


def test_users_see_no_copy_and_no_error(scene: Scene) -> None:
    assert scene.looked.said.code == 0
    assert scene.looked.users.failures == ()


def test_a_user_who_met_the_new_version_stays_on_it_while_its_share_grows(scene: Scene) -> None:
    met = {user.met[3000] for user in scene.users}
    assert met == {FIRST, NEW}
    assert [user.met for user in scene.users if user.met[3000] != user.met[6000]] == []


def test_affinity_costs_nobody_a_request(scene: Scene) -> None:
    assert scene.kept.said.code == 0
    assert scene.kept.users.failures == ()
    assert {one.version for one in scene.kept.requests[-20:]} == {NEW}
