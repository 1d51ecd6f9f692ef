"""What people do to releases: abort, roll back, thaw, meddle, and ask for what is refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.rig import properties
from tests.rig.services import Content, shop
from tests.rig.stack import Davy, await_that
from tests.rig.stage import FIRST, Stage

LONG = {"steps": [{"share": 20, "bake": "60s"}]}
CASES: dict[str, dict[str, Any]] = {
    "abort": {"strategy": "canary", **LONG},
    "undo": {"strategy": "blue-green", "scale_down_delay": "5m"},
    "frozen": {
        "strategy": "blue-green-canary",
        "on_failure": "freeze",
        "preview": {"path": "/health"},  # other answers of this version may be errors, before it has users
    },
    "drift": {"strategy": "canary", "steps": [{"share": 20, "bake": "8s"}]},
}


@pytest.fixture(scope="module")
def stage(davy: Davy) -> Iterator[Stage]:
    """All services, each at the start of its own scene."""
    contents = [
        shop(f"acts-{name}", port=next(davy.ports), home=davy.home, **own) for name, own in CASES.items()
    ]
    with Stage(davy, contents) as stage:
        stage.begin("acts-abort", "2.0")
        stage.begin("acts-undo", "2.0")
        stage.begin("acts-frozen", "2.0-errors")
        stage.begin("acts-drift", "2.0")
        meddle(stage)
        yield stage


def meddle(stage: Stage) -> None:
    """Take most of the candidate's share away, as somebody might who does not know of the release."""
    stage.await_share("acts-drift", "candidate", 2000)
    folder = stage.davy.home / "routes" / "acts-drift"
    file = folder / "current" / "rds.json"
    content = json.loads(file.read_text())
    action = content["resources"][0]["virtual_hosts"][0]["routes"][-1]["route"]
    for cluster in action["weighted_clusters"]["clusters"]:
        cluster["weight"] = {"candidate": 100, "baseline": 100}.get(cluster["name"].partition("/")[2], 9800)
    content["version_info"] = "somebody-else"
    file.write_text(json.dumps(content))
    (folder / ".new").write_text("")
    (folder / ".new").rename(folder / ".poke")  # Envoy reads when something is renamed there
    stage.await_share("acts-drift", "candidate", 100)


def test_a_release_under_way_keeps_a_second_one_out(stage: Stage) -> None:
    stage.await_share("acts-abort", "candidate", 2000)
    second = stage.davy.run("release", str(stage.file("acts-abort")), "--version", "3.0")
    assert second.code == 2
    assert "acts-abort-2.0-" in second.err
    assert stage.recorder.looks["acts-abort"][-1].split["candidate"] == 2000


def test_an_abort_brings_all_traffic_back(stage: Stage) -> None:
    stage.await_share("acts-abort", "candidate", 2000)
    aborted = stage.davy.run("abort", "acts-abort", "--by", "Ada", "--json")
    released = stage.end("acts-abort")
    assert (aborted.code, aborted.json["outcome"]) == (0, "Aborted")
    assert (released.code, released.json["outcome"]) == (4, "Aborted")
    assert "Ada" in released.json["message"]
    stage.await_census("acts-abort", FIRST)
    story = stage.story("acts-abort")
    assert properties.back_since(story.looks, story.stable) < aborted.at
    assert story.users.failures == ()


def test_somebody_elses_split_is_named_and_taken_back(stage: Stage) -> None:
    drifted = stage.end("acts-drift")
    assert (drifted.code, drifted.json["outcome"]) == (3, "RolledBack")
    assert "somebody else changed it: live requests: found " in drifted.json["message"]
    story = stage.story("acts-drift")
    assert properties.back_since(story.looks, story.stable) < drifted.at + 1
    assert story.users.failures == ()


def test_a_frozen_release_stays_until_a_person_takes_it_back(stage: Stage) -> None:
    frozen = stage.end("acts-frozen")
    assert (frozen.code, frozen.json["outcome"]) == (1, "Frozen")
    split = stage.story("acts-frozen").looks[-1].split
    assert split[stage.successor("acts-frozen")] > 0
    refused = stage.davy.run("release", str(stage.file("acts-frozen")), "--version", "3.0")
    assert (refused.code, "frozen" in refused.err) == (2, True)
    assert stage.recorder.looks["acts-frozen"][-1].split == split
    assert stage.davy.run("abort", "acts-frozen").code == 0
    stage.await_census("acts-frozen", FIRST)
    story = stage.story("acts-frozen")
    assert properties.back_since(story.looks, story.stable) < float("inf")
    assert properties.blameless(story.requests, story.old) == []


def test_the_version_that_is_stable_is_refused(stage: Stage) -> None:
    stage.end("acts-undo")
    refused = stage.davy.run("release", str(stage.file("acts-undo")), "--version", "2.0")
    assert (refused.code, "version: found '2.0'" in refused.err) == (2, True)


def test_a_rollback_is_one_switch_where_the_old_version_still_runs(stage: Stage) -> None:
    before = stage.recorder.censuses["acts-undo"][-1].versions
    assert sorted(before.values()) == [FIRST, FIRST, "2.0", "2.0"]
    back = stage.davy.run("rollback", "acts-undo", "--json")
    assert (back.code, back.json["version"]) == (0, FIRST)
    stage.await_census("acts-undo", FIRST)
    story = stage.story("acts-undo")
    assert set(story.censuses[-1].versions) <= set(before)
    assert story.users.failures == ()
    assert story.missing_capacity() == []


def test_a_rollback_starts_the_previous_version_where_it_is_gone(stage: Stage) -> None:
    stage.await_census("acts-undo", FIRST)
    again = stage.davy.run("rollback", "acts-undo", "--json")
    assert (again.code, again.json["version"]) == (0, "2.0")
    await_that(lambda: last_versions(stage) == {"2.0"}, within=20, what="2.0 in the access log")
    story = stage.story("acts-undo")
    assert story.users.failures == ()
    assert story.missing_capacity() == []


def last_versions(stage: Stage) -> set[str]:
    """Who answered last, as far as the proxy has written it down."""
    return {one.version for one in stage.story("acts-undo").requests[-5:]}


@pytest.fixture
def content(davy: Davy) -> Content:
    """A service that is not there yet."""
    return shop("acts-new", strategy="canary", port=next(davy.ports), home=davy.home)


def refused(davy: Davy, content: Content) -> str:
    """Ask for a first release; what the refusal says. Nothing must have been touched."""
    file = davy.home.parent / "acts-new.yaml"
    file.write_text(yaml.safe_dump(content))
    said = davy.run("release", str(file), "--version", FIRST)
    assert said.code == 2, said
    assert list(davy.home.glob("*/acts-new*")) == []
    return said.err


def test_a_command_that_is_not_there_is_refused(davy: Davy, content: Content) -> None:
    content["fleet"]["command"] = "no-such-program --port {port}"
    assert "fleet.command: found 'no-such-program'" in refused(davy, content)


def test_a_port_in_use_is_refused(davy: Davy, content: Content) -> None:
    with socket.create_server(("127.0.0.1", content["router"]["port"])):
        assert f"router.port: found {content['router']['port']}" in refused(davy, content)


def test_an_unknown_key_is_refused_by_name(davy: Davy, content: Content) -> None:
    content["step"] = content.pop("steps")
    assert "did you mean 'steps'" in refused(davy, content)
