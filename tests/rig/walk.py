"""One release as a person sees it: from its form in Prefect's UI, over two gates, to its promotion."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.rig.browser import Ui

ANN, BOB = "ann@example.com", "bob@example.com"
GATES = {"at": ["25%", "promotion"], "approvers": [ANN, BOB], "within": "30m"}
"""What the walked service file asks for: one gate is decided in Prefect's form, the other on the page for approvals."""

Shown = Callable[[str], None]


def walk(ui: Ui, service: str, version: str, shown: Shown = lambda _name: None) -> str:
    """Start it, look at it, approve it twice, see it promoted; gives its flow run.

    Args:
        shown: Called with the name of each of the five pictures, when the page shows it.
    """
    run = start(ui, service, version, shown)
    look(ui, run, f"{service} {version} waits for approval before more than 25% of the traffic")
    shown("2-graph")
    approve_by_form(ui, run, service, version, shown)
    approve_by_link(ui, run, service, version, shown)
    ui.open_run(run)
    ui.await_state("Promoted")
    expect(ui.tab("Artifacts")).to_contain_text(f"{service} {version} has all traffic since ")
    shown("5-promoted")
    return run


def start(ui: Ui, service: str, version: str, shown: Shown) -> str:
    """Type the version and the name, submit."""
    ui.open_form(f"canary/{service}")
    ui.field("Started by").fill("carol@example.com")
    ui.field("Version").fill(version)
    shown("1-form")
    return ui.start()


def look(ui: Ui, run: str, says: str) -> None:
    """The release's page while it waits: its state, why, and the graph."""
    ui.open_run(run)
    ui.await_state("AwaitingApproval")
    expect(ui.tab("Details")).to_contain_text(says)
    expect(ui.page.locator("main canvas").first).to_be_visible()


def approve_by_form(ui: Ui, run: str, service: str, version: str, shown: Shown) -> None:
    """Read the evidence in the first gate's form, and approve there."""
    form = ui.open_gate(run, "25%")
    expect(form).to_contain_text(
        f"{service} {version} in place of 1.0 waits for approval before more than 25%"
    )
    expect(form).to_contain_text("Started by carol@example.com.")
    expect(form.get_by_role("img", name="Who answered the users")).to_be_visible()
    expect(form).to_contain_text("pass: error_rate of candidate was 0 % over ")
    ui.decide(form, "approve", name=ANN, reason="No errors at 20 %")
    shown("3-gate")
    ui.resume(form)


def approve_by_link(ui: Ui, run: str, service: str, version: str, shown: Shown) -> None:
    """Open the second gate's page by an approver's own link, and approve there."""
    ui.await_gate(run, "promotion")
    links = ui.davy.run("links", service, "--json").json
    ui.page.goto(links[BOB])
    expect(ui.page.get_by_role("heading", level=1).first).to_have_text(
        f"{service} {version} in place of 1.0 waits for approval before all traffic."
    )
    expect(ui.page.get_by_text(f"You decide as {BOB}")).to_be_visible()
    ui.page.get_by_label("Reason").fill("As good at 50 %")
    shown("4-page")
    ui.page.get_by_role("button", name="Approve").click()
    expect(
        ui.page.get_by_text(f"Recorded for {service}: approve by {BOB} (verified): As good at 50 %")
    ).to_be_visible()
