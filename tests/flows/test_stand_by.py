"""A run that infrastructure begins twice: the second process stands by, and never fails a release that goes well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.client.schemas.objects import State

from tasks.domain.errors import ConflictError, WithdrawnError
from tasks.domain.model import Outcome
from tasks.domain.settings import settings
from tasks.journal import journal_of
from tasks.record import Record
from tasks.turns import Place, withdraw
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.stack import await_that
from tests.rig.world import Died, World

Start = Callable[..., Future[State[None]]]
BAKING = "bake-green-100%-1"


def record() -> Record:
    return Record.read(journal_of("shop", "r1"))


def carriers() -> int:
    """How often the release was taken over."""
    return len(record().all("carried"))


def is_baking() -> bool:
    return journal_of("shop", "r1").exists() and record().first("intent", BAKING) is not None


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Starts a process of the release, as a thread."""
    del world
    with ThreadPoolExecutor() as threads:
        yield lambda version="v2", release="r1", **more: threads.submit(
            run, make_service("blue-green", **more), version, release
        )


def of_run(monkeypatch: pytest.MonkeyPatch, run_id: str) -> None:
    """What comes now is of this flow run."""
    monkeypatch.setattr("flows.carry.flow_run", SimpleNamespace(id=run_id))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A lease is given up on after four seconds, before the bakes here have ended."""
    monkeypatch.setenv("DAVY_LEASE_TTL", "2s")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("soon")
def test_the_second_process_of_a_run_ends_as_the_first_one_did(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_run(monkeypatch, "a")
    first = start(watch="6s")
    await_that(is_baking)
    second = start(watch="6s")
    assert [one.result(20).name for one in (first, second)] == [Outcome.PROMOTED] * 2
    assert carriers() == 0


@pytest.mark.usefixtures("soon")
def test_another_run_is_refused_while_the_first_one_lives(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_run(monkeypatch, "a")
    first = start(watch="6s")
    await_that(is_baking)
    of_run(monkeypatch, "b")
    with pytest.raises(ConflictError, match="r1"):
        start(watch="6s").result(20)
    assert first.result(20).name == Outcome.PROMOTED


def test_the_second_process_takes_over_from_one_that_died(
    world: World, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_run(monkeypatch, "a")
    first = start(watch="3s")
    await_that(is_baking)
    second = start(watch="3s")
    world.dead = True
    with pytest.raises(Died):
        first.result(20)
    world.revive()
    assert second.result(20).name == Outcome.PROMOTED
    assert carriers() == 1


@pytest.mark.parametrize("on_conflict", ["reject", "queue", "supersede"])
@pytest.mark.usefixtures("soon")
def test_two_processes_that_begin_a_run_at_once_open_one_release(
    start: Start, monkeypatch: pytest.MonkeyPatch, on_conflict: str
) -> None:
    of_run(monkeypatch, "a")
    both = [start(watch="1s", on_conflict=on_conflict) for _ in range(2)]
    assert [one.result(30).name for one in both] == [Outcome.PROMOTED] * 2
    assert len(record().all("opened")) == 1
    assert (record().all("abort"), record().reverting) == ([], None)


def test_one_that_waits_for_its_turn_twice_begins_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    of_run(monkeypatch, "other")
    before = start(release="r0", version="v3", watch="2s")
    await_that(journal_of("shop", "r0").exists)
    of_run(monkeypatch, "a")
    both = [start(watch="1s", on_conflict="queue") for _ in range(2)]
    assert before.result(30).name == Outcome.PROMOTED
    assert [one.result(30).name for one in both] == [Outcome.PROMOTED] * 2
    assert len(record().all("opened")) == 1
    assert list((settings().root / "queue" / "shop").iterdir()) == []


def test_a_place_that_was_withdrawn_is_not_held_by_the_process_that_comes_after(home: Path) -> None:
    del home
    with Place("shop", "r1", "v2") as first:
        assert withdraw("shop", "r1")
        with Place("shop", "r1", "v2") as second:
            with pytest.raises(WithdrawnError):
                first.give_way()
            second.give_way()


def test_a_withdrawn_release_does_not_begin_by_a_process_that_stands_by(home: Path) -> None:
    queue = home / "queue" / "shop"
    with ThreadPoolExecutor(1) as threads, Place("shop", "r1", "v2"), Place("shop", "r1.5", "v2") as other:
        second = threads.submit(Place("shop", "r1", "v2").__enter__)
        await_that(lambda: len(list(queue.glob("r1.*"))) == 3)
        assert withdraw("shop", "r1")
        with pytest.raises(WithdrawnError):
            second.result(10)
        other.give_way()
    assert list(queue.iterdir()) == []


def test_a_place_that_a_dead_process_left_is_taken(home: Path) -> None:
    left = home / "queue" / "shop" / "r1.json"
    left.parent.mkdir(parents=True)
    left.touch()
    with Place("shop", "r1", "v2") as place:
        place.give_way()
    assert list(left.parent.iterdir()) == []
