"""The verbs that speak to a release while it runs: thin, in words or as JSON, refused with exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import deployments.cli  # noqa: F401 - the verbs are there with it
from deployments.command import app
from deployments.show import status_of
from tasks.domain.model import Revision, Slot, Split, Traffic
from tasks.journal import journal_of
from tasks.opening import open_release
from tasks.record import Record
from tasks.report.story import story_of
from tests.rig.fakes import make_service, make_world


@pytest.fixture
def _baking(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that bakes its first step."""
    del home
    make_world(monkeypatch).have_stable(2)
    carrier = open_release("r1", "canary", make_service("canary"), "v2")
    candidate = Revision("shop", Slot.CANDIDATE, "v2")
    carrier.fleet.deploy(candidate, 1, carrier.lease)
    carrier.publish(candidate)
    carrier.send(Traffic(Split({Slot.BLUE: 9500, Slot.CANDIDATE: 500})))
    carrier.write("intent", "bake-candidate-5%-1")


def davy(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def acts() -> list[tuple[str, str]]:
    return [(line.key, line.data["by"]) for line in Record.read(journal_of("shop", "r1")).all("act")]


@pytest.mark.usefixtures("_baking")
def test_each_verb_writes_its_act_and_says_what_it_means() -> None:
    held = davy("hold", "shop", "10m", "--by", "ann", "--reason", "lunch")
    assert held.exit_code == 0
    assert "hold by ann (claimed): lunch; candidate-5% lasts until" in held.stdout
    assert davy("retry", "shop", "--by", "bob").exit_code == 0
    said = json.loads(davy("promote", "shop", "--by", "ann", "--json").stdout)
    assert (said["service"], said["act"], said["by"]) == ("shop", "promote", "ann")
    assert acts() == [("hold", "ann"), ("retry", "bob"), ("promote", "ann")]
    status = status_of("shop")
    assert status
    assert status.state == "under way: bake-candidate-5%-1 (promote by ann (claimed))"
    deeds = [deed.what for deed in story_of(Record.read(journal_of("shop", "r1"))).deeds if deed.who == "ann"]
    assert deeds == [
        "had candidate-5% last 10m longer (claimed): lunch",
        "had the rest of bakes and analyses skipped (claimed)",
    ]


@pytest.mark.usefixtures("_baking")
def test_what_is_refused_is_said_and_not_written() -> None:
    assert davy("hold", "shop", "soon").exit_code == 2
    assert davy("skip", "nobody").exit_code == 2
    assert davy("skip", "shop", "--by", "ann").exit_code == 0
    again = davy("retry", "shop", "--by", "bob")
    assert again.exit_code == 2
    assert "found skip already said by ann (claimed)" in again.stderr
    assert acts() == [("skip", "ann")]
