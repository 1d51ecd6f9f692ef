"""A step: a Prefect task that is journaled, done once, and retried only where that can help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client

from tasks.domain.errors import LeaseLostError, PermanentError, TransientError
from tasks.domain.model import Finding, Outcome, Result, Revision, Slot, Verdict
from tasks.journal import journal_of
from tasks.opening import open_release
from tasks.record import Record
from tasks.release import Carrier, Release
from tasks.step import step
from tests.rig.engine import start_engine
from tests.rig.fakes import make_service, make_world
from tests.rig.world import expire_lease

GREEN = Revision("shop", Slot.GREEN, "v2")
done: list[object] = []
"""What the steps below did to the world."""
trouble: list[BaseException] = []
"""What they meet, one after the other."""


@step("touch-{revision.slot}-{share:share}", result=int)
def touch(release: Release, revision: Revision, share: int) -> int:
    """Touch the world once."""
    del release
    if trouble:
        raise trouble.pop(0)
    done.append((revision.slot, share))
    return len(done)


@step("judge", result=Verdict)
def judge(release: Release) -> Verdict:
    """Come to a verdict."""
    del release
    done.append("judged")
    finding = Finding("error_rate", "green", Result.FAIL, 9.5, "too many")
    return Verdict(Result.FAIL, (finding,), {"frame": {"at": [1, 2], "slots": {}}})


@step("grows-old", result=int, valid=lambda _release, _record, _done: False)
def grows_old(release: Release) -> int:
    """Give a result that never counts again."""
    del release
    done.append("again")
    return len(done)


@flow
def walk(body: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the body gives
    """Run *body* in a flow."""
    return body()


@pytest.fixture
def carrier(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """The carrier of a release that has just begun."""
    start_engine(request)
    del home
    done.clear()
    trouble.clear()
    monkeypatch.setattr(touch, "retry_delay_seconds", 0)
    make_world(monkeypatch).have_stable(2)
    opened = open_release("r1", "canary", make_service("canary"), "v2")
    yield opened
    opened.let_go()


def lines(carrier: Carrier) -> list[tuple[str, str]]:
    return [(line.kind, line.key) for line in Record.read(carrier.journal).lines[1:]]


def carried_on(carrier: Carrier) -> Carrier:
    """The same release in the hands of the next process."""
    carrier.let_go()
    return Carrier.resume(journal_of("shop", "r1"), by="test")


def test_the_intent_is_written_before_and_the_outcome_after(carrier: Carrier) -> None:
    assert walk(lambda: touch(carrier.release, GREEN, 250)) == 1
    assert lines(carrier) == [("intent", "touch-green-2.5%"), ("outcome", "touch-green-2.5%")]
    outcome = Record.read(carrier.journal).result_of("touch-green-2.5%")
    assert outcome
    assert outcome.data == {"result": 1}
    assert outcome.epoch == carrier.lease.epoch


def test_the_task_run_has_the_steps_name(carrier: Carrier) -> None:
    walk(lambda: touch(carrier.release, GREEN, 250))
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs()
    assert "touch-green-2.5%" in {run.name for run in runs}


def test_a_step_that_is_done_gives_back_its_result_and_touches_nothing(carrier: Carrier) -> None:
    walk(lambda: touch(carrier.release, GREEN, 250))
    again = carried_on(carrier)
    assert walk(lambda: touch(again.release, GREEN, 250)) == 1
    assert done == [(Slot.GREEN, 250)]
    again.let_go()


def test_another_share_is_another_step(carrier: Carrier) -> None:
    assert walk(lambda: [touch(carrier.release, GREEN, share) for share in (250, 500, 250)]) == [1, 2, 1]
    assert done == [(Slot.GREEN, 250), (Slot.GREEN, 500)]


def test_a_verdict_comes_back_as_it_was(carrier: Carrier) -> None:
    first = walk(lambda: judge(carrier.release))
    again = walk(lambda: judge(carrier.release))
    assert again == first
    assert isinstance(again, Verdict)
    assert again.findings[0].result is Result.FAIL
    assert done == ["judged"]


def test_a_step_that_failed_is_done_again(carrier: Carrier) -> None:
    trouble.append(PermanentError("broken"))
    with pytest.raises(PermanentError, match="broken"):
        walk(lambda: touch(carrier.release, GREEN, 250))
    assert lines(carrier) == [("intent", "touch-green-2.5%")]
    assert walk(lambda: touch(carrier.release, GREEN, 250)) == 1


def test_what_may_succeed_later_is_tried_again(carrier: Carrier) -> None:
    trouble.extend([TransientError("away"), TransientError("still away")])
    assert walk(lambda: touch(carrier.release, GREEN, 250)) == 1
    assert [kind for kind, _ in lines(carrier)] == ["intent", "intent", "intent", "outcome"]


@pytest.mark.parametrize("error", [PermanentError("no"), LeaseLostError("gone"), KeyError("a mistake")])
def test_what_cannot_succeed_is_not_tried_again(carrier: Carrier, error: Exception) -> None:
    trouble.extend([error, TransientError("never met")])
    with pytest.raises(type(error)):
        walk(lambda: touch(carrier.release, GREEN, 250))
    assert len(trouble) == 1


def test_a_result_that_has_grown_old_is_made_again(carrier: Carrier) -> None:
    assert walk(lambda: [grows_old(carrier.release), grows_old(carrier.release)]) == [1, 2]


@pytest.mark.parametrize("word", ["abort", "reverting"])
def test_no_step_begins_once_the_way_back_was_asked_for(carrier: Carrier, word: str) -> None:
    walk(lambda: touch(carrier.release, GREEN, 250))
    carrier.journal.append(word, reason="", outcome=Outcome.ABORTED, by="Ada")
    with pytest.raises(LeaseLostError, match="on its way back"):
        walk(lambda: touch(carrier.release, GREEN, 500))
    assert done == [(Slot.GREEN, 250)]


def test_no_step_begins_once_another_carrier_has_taken_over(carrier: Carrier) -> None:
    new = Carrier.resume(journal_of("shop", "r1"), by="watcher", over=True)
    new._here[new.release.name, new.release.id] = carrier
    with pytest.raises(LeaseLostError):
        walk(lambda: touch(carrier.release, GREEN, 250))
    assert done == []
    new.let_go()


def test_no_step_begins_under_a_lease_that_has_expired(carrier: Carrier) -> None:
    expire_lease("shop")
    carrier.lease._stop.set()
    with pytest.raises(LeaseLostError, match="expected to hold epoch 1"):
        walk(lambda: touch(carrier.release, GREEN, 250))
    assert (done, lines(carrier)) == ([], [])


def test_a_process_that_does_not_carry_the_release_is_told_so(carrier: Carrier) -> None:
    carrier.let_go()
    with pytest.raises(PermanentError, match="found no carrier in this process"):
        walk(lambda: touch(carrier.release, GREEN, 250))
