"""Approvers' links: each is one person's, for one decision on one plan, and opening one decides nothing."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from prefect.client.schemas.objects import State

from deployments.approvals import make_app
from tasks import approval
from tasks.domain.errors import InputError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome
from tasks.domain.settings import settings
from tasks.journal import journal_of
from tasks.links import Link, links_at, read_link
from tasks.record import Record
from tests.rig.bare import run, without_engine
from tests.rig.fakes import make_service, make_world
from tests.rig.stack import await_that
from tests.rig.world import World


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    del home
    without_engine(monkeypatch)
    made = make_world(monkeypatch)
    made.have_stable(4)
    return made


@pytest.fixture
def page(free_port: Callable[[], int]) -> Iterator[httpx.Client]:
    """A browser at the page, which a real server serves."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(make_app(), port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    await_that(lambda: server.started, 10, "the page")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as browser:
        yield browser
    server.should_exit = True
    thread.join()


@pytest.fixture
def running(world: World) -> Iterator[Future[State[Any]]]:
    """A release that waits at a gate where only verified decisions count."""
    del world
    gates = {"approvers": ["ann", "bob"], "within": "120s", "approval": "verified"}
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run, make_service("blue-green", gates=gates))
        await_that(lambda: journal_of("shop", "r1").exists() and record().gate, 10, "the gate")
        yield future


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def link_of(approver: str) -> Link:
    return next(link for link in links_at(record()) if link.approver == approver)


def path_of(link: Link) -> str:
    return link.url.removeprefix(settings().approvals)


def end(running: Future[State[Any]]) -> None:
    """Whatever was tried, the release is let go."""
    approval.decide(journal_of("shop", "r1"), Choice.REJECT, by="bob", reason="", verified=True)
    running.result(60)


def test_a_link_shows_what_is_asked_and_opening_it_decides_nothing(
    page: httpx.Client, running: Future[State[Any]]
) -> None:
    answer = page.get(path_of(link_of("ann")))
    assert answer.status_code == 200
    assert "shop v2 in place of v1 waits for approval before all traffic" in answer.text
    assert "You decide as ann" in answer.text
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in answer.headers["cache-control"]
    assert record().decisions == []
    end(running)


def test_a_decision_by_a_link_is_verified_and_a_typed_name_is_not(
    page: httpx.Client, running: Future[State[Any]]
) -> None:
    with pytest.raises(InputError, match="own link"):
        approval.decide(journal_of("shop", "r1"), Choice.APPROVE, by="ann", reason="")
    answer = page.post(path_of(link_of("ann")), data={"decision": "approve", "reason": "<b>fine</b>"})
    assert answer.status_code == 200
    assert "approve by ann (verified): &lt;b&gt;fine&lt;/b&gt;" in answer.text
    assert running.result(60).name == Outcome.PROMOTED
    (said,) = record().decisions
    assert (said.by, said.verified, said.reason) == ("ann", True, "<b>fine</b>")


def test_a_link_is_good_for_one_decision_but_a_hold_leaves_it_open(
    page: httpx.Client, running: Future[State[Any]]
) -> None:
    path = path_of(link_of("ann"))
    assert page.post(path, data={"decision": "hold", "minutes": "30"}).status_code == 200
    assert page.post(path, data={"decision": "reject", "reason": "no"}).status_code == 200
    again = page.post(path, data={"decision": "approve"})
    assert again.status_code == 409
    state = running.result(60)
    assert (state.name, state.message) == (Outcome.REJECTED, "rejected by ann (verified): no")
    assert page.get(path).status_code == 409


@pytest.mark.parametrize(
    "said",
    [
        {"decision": "perhaps"},
        {},
        {"decision": "hold", "minutes": "0"},
        {"decision": "hold", "minutes": "10081"},
        {"decision": "hold", "minutes": "half"},
    ],
)
def test_a_decision_that_is_none_is_refused_by_field(
    page: httpx.Client, running: Future[State[Any]], said: dict[str, str]
) -> None:
    answer = page.post(path_of(link_of("ann")), data=said)
    assert answer.status_code in (400, 413)
    assert record().decisions == []
    end(running)


def test_forged_foreign_and_outdated_links_open_nothing(
    page: httpx.Client, running: Future[State[Any]]
) -> None:
    real = link_of("ann")
    token = path_of(real).rpartition("/")[2]
    forged = [token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), token[: len(token) // 2], "x", "W10.x"]
    assert [page.get(f"/approve/{one}").status_code for one in forged] == [400] * 4
    others = [replace(real, plan="f" * 64), replace(real, point="traffic"), replace(real, release="r0")]
    assert [page.post(path_of(one), data={"decision": "approve"}).status_code for one in others] == [409] * 3
    stranger = page.post(path_of(replace(real, approver="mallory")), data={"decision": "approve"})
    assert stranger.status_code == 400
    assert record().decisions == []
    end(running)


def test_too_long_a_form_is_refused_before_it_is_read(
    page: httpx.Client, running: Future[State[Any]]
) -> None:
    answer = page.post(path_of(link_of("ann")), data={"decision": "approve", "reason": "x" * 20_000})
    assert answer.status_code == 413
    end(running)


def test_the_key_is_this_users_alone_and_stays(home: Path) -> None:
    del home
    link = Link("shop", "r1", "promotion", "p", "ann")
    url = link.url
    assert stat.S_IMODE(settings().approvals_key.stat().st_mode) == 0o600
    assert read_link(url.rpartition("/")[2]) == link
    assert link.url == url
