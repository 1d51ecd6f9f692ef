"""Prefect's UI and the page for approvals as a person sees them: one page of the system's Chromium."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, ViewportSize, expect, sync_playwright

from tests.rig.stack import Davy, await_that

WIDTH, HEIGHT = 1200, 1000
PATIENCE = 90_000
"""Milliseconds in which a page shows what it is to show, on a busy machine."""
LOCAL = ("127.0.0.1", "localhost")


def chromium() -> str:
    """The system's Chromium; a test that needs it is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("chromium: found none on PATH, expected it (Debian: apt-get install chromium)")
    return program


@contextmanager
def open_page() -> Iterator[Page]:
    """A page that reaches this machine alone: Prefect's UI asks others how it is used.

    Nothing moves in it, and no program plays the graphics card: that took a core for itself.
    """
    options = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        size: ViewportSize = {"width": WIDTH, "height": HEIGHT}
        context = browser.new_context(viewport=size, timezone_id="UTC", reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        context.route("**/*", _stay_here)
        yield context.new_page()
        browser.close()


def _stay_here(route: Route) -> None:
    address = urlsplit(route.request.url)
    if address.scheme in ("data", "blob") or address.hostname in LOCAL:
        route.continue_()
    else:
        route.abort()


@dataclass(frozen=True)
class Ui:
    """Prefect's UI of one stack, in one page."""

    page: Page
    davy: Davy

    @property
    def base(self) -> str:
        """Where the server answers."""
        return f"http://127.0.0.1:{self.davy.environment['DAVY_PREFECT_PORT']}"

    def runs(self, deployment: str) -> list[str]:
        """The flow runs of a deployment (``canary/shop``), the newest first."""
        body = {"sort": "EXPECTED_START_TIME_DESC", "deployments": {"id": {"any_": [self._id(deployment)]}}}
        found = httpx.post(f"{self.base}/api/flow_runs/filter", json=body, timeout=30).raise_for_status()
        return [run["id"] for run in found.json()]

    def open_form(self, deployment: str) -> None:
        """From a deployment's page to the form of a run of its own."""
        self.page.goto(f"{self.base}/v2/deployments/deployment/{self._id(deployment)}")
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        expect(self.field("Version")).to_be_visible()

    def field(self, title: str) -> Locator:
        """A field of the form, by its title; the first where there are several."""
        return self.page.get_by_label(re.compile(rf"^{re.escape(title)}( \(Optional\))?$")).first

    def submit(self) -> None:
        """Press the form's button."""
        self.page.get_by_role("button", name="Submit").click()

    def start(self) -> str:
        """Submit the form; gives the run that it made."""
        with self.page.expect_response(re.compile("/create_flow_run$")) as answer:
            self.submit()
        assert answer.value.ok, answer.value.status
        run: str = answer.value.json()["id"]
        return run

    def open_run(self, run: str) -> None:
        """A flow run's page."""
        self.page.goto(f"{self.base}/v2/runs/flow-run/{run}")
        expect(self.page.get_by_role("button", name="Open menu")).to_be_visible()

    def await_state(self, name: str) -> None:
        """Wait for the run's page to show this state."""
        expect(self.page.locator("main").get_by_text(name, exact=True).first).to_be_visible()

    def tab(self, name: str) -> Locator:
        """Open one of the run's tabs; gives what it shows."""
        self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)

    def choose(self, item: str) -> None:
        """Choose from the run's menu."""
        self.page.get_by_role("button", name="Open menu").click()
        self.page.get_by_role("menuitem", name=item).click()

    def open_gate(self, run: str, point: str) -> Locator:
        """From the release's page to the form of the gate that it waits at; gives the form."""
        self.await_gate(run, point)
        self.open_run(run)
        self.tab("Subflow Runs").get_by_role("link", name=f"gate-{point}").click()
        expect(self.page.get_by_role("link", name="gate", exact=True)).to_be_visible()
        self.await_state("Paused")
        self.choose("Resume")
        form = self.page.get_by_role("dialog")
        expect(form.get_by_label("Your name")).to_be_visible()
        return form

    def decide(self, form: Locator, decision: str, *, name: str, reason: str) -> None:
        """Fill a gate's form; `resume` sends it."""
        form.get_by_label("Decision").click()
        self.page.get_by_role("option", name=decision).click()
        form.get_by_label("Your name").fill(name)
        form.get_by_label("Reason").fill(reason)

    def resume(self, form: Locator) -> None:
        """Send a gate's form."""
        form.get_by_role("button", name="Resume").click()
        expect(form).to_be_hidden()

    def await_gate(self, run: str, point: str) -> None:
        """Wait until the release shows the form of this gate."""
        await_that(lambda: self._gate(run, point), within=150, what=f"form of gate {point}")

    def _gate(self, run: str, point: str) -> bool:
        """Whether the gate's form is there: Prefect pauses the run first, and saves the form's text last."""
        body = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}, "state": {"type": {"any_": ["PAUSED"]}}}}
        found = httpx.post(f"{self.base}/api/flow_runs/filter", json=body, timeout=30).raise_for_status()
        return any(self._has_form(gate) for gate in found.json() if gate["name"] == f"gate-{point}")

    def _has_form(self, gate: dict[str, Any]) -> bool:
        """Whether what the form shows is saved."""
        text = gate["state"]["state_details"]["run_input_keyset"]["description"]
        got = httpx.get(f"{self.base}/api/flow_runs/{gate['id']}/input/{text}", timeout=30)
        return got.is_success

    def _id(self, deployment: str) -> str:
        url = f"{self.base}/api/deployments/name/{deployment}"
        found: str = httpx.get(url, timeout=30).raise_for_status().json()["id"]
        return found
