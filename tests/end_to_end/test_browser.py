"""Prefect's UI as a person uses it, in Chromium: a form, its refusals, a graph, gates, a cancel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.rig import properties
from tests.rig.browser import Ui, chromium, open_page
from tests.rig.services import shop
from tests.rig.stack import Davy
from tests.rig.stage import FIRST, Stage
from tests.rig.walk import ANN, GATES, walk

VERSION = "2.0"
CASES: dict[str, dict[str, Any]] = {
    "ui-approved": {"gates": GATES},
    "ui-rejected": {"gates": GATES | {"at": ["25%"]}},
    "ui-cancelled": {},
}


@pytest.fixture(scope="module")
def stage(davy: Davy) -> Iterator[Stage]:
    """Three canaries with their first version, put on Prefect with their forms."""
    chromium()
    contents = [
        shop(name, strategy="canary", port=next(davy.ports), home=davy.home, **own)
        for name, own in CASES.items()
    ]
    folder = davy.home.parent / "deployed"
    folder.mkdir()
    with Stage(davy, contents) as stage:
        for name in CASES:
            shutil.copy(stage.file(name), folder)
        deployed = davy.run("deploy", str(folder))
        assert deployed.code == 0, deployed
        yield stage
        for name in CASES:
            davy.run("abort", name)  # where a test left it under way


@pytest.fixture(scope="module")
def ui(stage: Stage) -> Iterator[Ui]:
    """Prefect's UI, open."""
    with open_page() as page:
        yield Ui(page, stage.davy)


def released(ui: Ui, service: str) -> list[str]:
    """The runs that its deployment has."""
    return ui.runs(f"canary/{service}")


def message(field: Locator) -> str:
    """What the browser itself says against a field's content."""
    said: str = field.evaluate("field => field.validationMessage")
    return said


def test_a_share_above_all_is_refused_at_the_field_and_no_run_is_made(ui: Ui) -> None:
    ui.open_form("canary/ui-rejected")
    ui.field("Version").fill(VERSION)
    ui.field("Share").fill("101")
    ui.submit()
    assert "100" in message(ui.field("Share"))
    assert "/run" in ui.page.url
    assert released(ui, "ui-rejected") == []


def test_a_bake_without_a_unit_is_refused_at_the_field_and_no_run_is_made(ui: Ui) -> None:
    ui.open_form("canary/ui-rejected")
    ui.field("Version").fill(VERSION)
    ui.field("Bake").fill("5x")
    ui.submit()
    expect(ui.page.locator("main").get_by_text("'5x' does not match").first).to_be_visible()
    assert released(ui, "ui-rejected") == []


def test_a_release_is_started_watched_approved_and_promoted(ui: Ui, stage: Stage) -> None:
    run = walk(ui, "ui-approved", VERSION)
    steps = ui.tab("Task Runs")
    for step in ("shift-traffic-candidate-20%", "bake-candidate-20%", "analyse-candidate-20%"):
        steps.get_by_placeholder("Search by run name").fill(step)
        expect(steps.get_by_role("link", name=step, exact=True)).to_be_visible()
    stage.await_census("ui-approved", VERSION)
    story = stage.story("ui-approved")
    assert story.users.failures == ()
    assert story.looks[-1].split == {stage.successor("ui-approved"): 10_000}
    assert released(ui, "ui-approved") == [run]


def test_a_gate_without_a_decision_stays_open_and_a_rejected_release_is_taken_back(
    ui: Ui, stage: Stage
) -> None:
    ui.open_form("canary/ui-rejected")
    ui.field("Version").fill(VERSION)
    ui.field("Started by").fill("carol@example.com")
    run = ui.start()
    form = ui.open_gate(run, "25%")
    form.get_by_role("button", name="Resume").click()
    expect(ui.page.get_by_text("'decision' is a required property").first).to_be_visible()
    ui.decide(form, "reject", name=ANN, reason="Not on a Friday")
    ui.resume(form)
    ui.open_run(run)
    ui.await_state("Rejected")
    expect(ui.tab("Details")).to_contain_text(f"rejected by {ANN} (claimed): Not on a Friday")
    back(stage, "ui-rejected")


def test_a_cancelled_run_takes_its_traffic_back(ui: Ui, stage: Stage) -> None:
    ui.open_form("canary/ui-cancelled")
    ui.field("Version").fill(VERSION)
    ui.field("Bake").fill("5m")
    run = ui.start()
    stage.await_share("ui-cancelled", "candidate", 2000)
    ui.open_run(run)
    ui.choose("Cancel")
    ui.page.get_by_role("button", name="Cancel Flow Run").click()
    stage.await_share("ui-cancelled", "candidate", 0)
    ui.await_state("Cancelled")
    back(stage, "ui-cancelled")


def back(stage: Stage, service: str) -> None:
    """All traffic is on the first version again, nobody noticed, and nothing else runs."""
    stage.await_share(service, "candidate", 0)
    stage.await_census(service, FIRST)
    story = stage.story(service)
    assert properties.back_since(story.looks, story.stable) < float("inf")
    assert max(look.split.get("candidate", 0) for look in story.looks) == 2000
    assert story.users.failures == ()
