"""One release of a service at a time: the second is refused, waits, or takes the first one's place; the newest wins."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from deployments.watcher import Watched
from flows.restore import way_back
from tasks import approval
from tasks.domain.errors import ConflictError
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome, Slot, Split
from tasks.domain.settings import settings
from tasks.journal import all_journals, journal_of
from tasks.record import Record
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.stack import await_that
from tests.rig.world import World

WITHIN = 60
GATES = {"approvers": ["ann", "bob"], "within": "60s"}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def watcher() -> Iterator[None]:
    """What the watcher does all the time."""
    over = threading.Event()

    def watch() -> None:
        watched: dict[Path, Watched] = {}
        while not over.wait(0.02):
            for journal in all_journals():
                watched.setdefault(journal.path, Watched(journal)).look_once()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    over.set()
    thread.join()


def begin(pool: ThreadPoolExecutor, version: str, on_conflict: str, **more: Any) -> Future[State[Any]]:  # noqa: ANN401 - keys of a service file
    service = make_service("blue-green", replicas=2, on_conflict=on_conflict, **more)
    return pool.submit(run, service, version, version)


def waits_at_gate(version: str) -> None:
    journal = journal_of("shop", version)
    await_that(lambda: journal.exists() and Record.read(journal).gate, WITHIN, f"{version} at its gate")


def queued(version: str) -> None:
    await_that(
        (settings().root / "queue" / "shop" / f"{version}.json").exists, WITHIN, f"{version} in the queue"
    )


def approve(version: str) -> None:
    approval.decide(journal_of("shop", version), Choice.APPROVE, by="ann", reason="")


@pytest.mark.usefixtures("world", "watcher")
def test_a_second_release_is_refused_where_the_file_says_nothing(pool: ThreadPoolExecutor) -> None:
    first = begin(pool, "v2", "reject", gates=GATES)
    waits_at_gate("v2")
    with pytest.raises(ConflictError, match="found release v2 of v2 under way"):
        begin(pool, "v3", "reject").result(WITHIN)
    approve("v2")
    assert first.result(WITHIN).name == Outcome.PROMOTED


@pytest.mark.usefixtures("watcher")
def test_a_queued_release_begins_once_the_first_has_ended(world: World, pool: ThreadPoolExecutor) -> None:
    first = begin(pool, "v2", "queue", gates=GATES)
    waits_at_gate("v2")
    second = begin(pool, "v3", "queue")
    queued("v3")
    time.sleep(0.2)
    assert not journal_of("shop", "v3").exists()
    approve("v2")
    assert first.result(WITHIN).name == Outcome.PROMOTED
    assert second.result(WITHIN).name == Outcome.PROMOTED
    assert Record.read(journal_of("shop", "v3")).opening.stable.version == "v2"  # type: ignore[union-attr]
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.BLUE)  # there and back: the colours took turns


@pytest.mark.usefixtures("world", "watcher")
def test_of_those_that_wait_only_the_newest_begins(pool: ThreadPoolExecutor) -> None:
    first = begin(pool, "v2", "queue", gates=GATES)
    waits_at_gate("v2")
    second = begin(pool, "v3", "queue")
    queued("v3")
    third = begin(pool, "v4", "queue")
    state = second.result(WITHIN)
    assert (state.type.value, state.name) == ("CANCELLED", Outcome.SUPERSEDED)
    assert "superseded by v4" in (state.message or "")
    assert not journal_of("shop", "v3").exists()
    approve("v2")
    assert first.result(WITHIN).name == Outcome.PROMOTED
    assert third.result(WITHIN).name == Outcome.PROMOTED


@pytest.mark.usefixtures("watcher")
def test_a_release_that_supersedes_has_the_first_taken_back_cleanly(
    world: World, pool: ThreadPoolExecutor
) -> None:
    first = begin(pool, "v2", "supersede", gates=GATES)
    waits_at_gate("v2")
    second = begin(pool, "v3", "supersede")
    state = first.result(WITHIN)
    assert (state.type.value, state.name) == ("CANCELLED", Outcome.SUPERSEDED)
    assert "superseded by v3" in (state.message or "")
    assert second.result(WITHIN).name == Outcome.PROMOTED
    versions = [split for moment in world.history if (split := moment.split)]
    assert versions[-1] == Split.all_to(Slot.GREEN)
    assert Record.read(journal_of("shop", "v3")).opening.stable.version == "v1"  # type: ignore[union-attr]


@pytest.mark.usefixtures("world", "watcher")
def test_nobody_gives_way_to_a_release_whose_process_is_dead(pool: ThreadPoolExecutor) -> None:
    first = begin(pool, "v2", "queue", gates=GATES)
    waits_at_gate("v2")
    folder = settings().root / "queue" / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    dead = folder / "v9.json"
    dead.write_text(json.dumps({"at": time.time_ns() + 10**12, "release": "v9", "version": "v9"}))
    second = begin(pool, "v3", "queue")
    approve("v2")
    assert first.result(WITHIN).name == Outcome.PROMOTED
    assert second.result(WITHIN).name == Outcome.PROMOTED
    assert not dead.exists()


@pytest.mark.usefixtures("world", "watcher")
def test_a_release_that_is_cancelled_while_it_waits_never_begins(pool: ThreadPoolExecutor) -> None:
    """Also where its runner is gone, and nobody ends its process: the compensating flow sees to it."""
    first = begin(pool, "v2", "queue", gates=GATES)
    waits_at_gate("v2")
    second = begin(pool, "v3", "queue")
    queued("v3")
    told = way_back.fn(run="a-run", state="Cancelled", parameters={"service": "shop", "release": "v3"})
    assert "waits for its turn no more" in (told.message or "")
    state = second.result(WITHIN)
    assert (state.type.value, state.name) == ("CANCELLED", Outcome.ABORTED)
    approve("v2")
    assert first.result(WITHIN).name == Outcome.PROMOTED
    assert not journal_of("shop", "v3").exists()
