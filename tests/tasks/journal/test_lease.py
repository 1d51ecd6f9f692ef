"""The lease: one carrier at a time, and who lost it can change nothing more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from tasks.domain.errors import ConflictError, LeaseLostError
from tasks.domain.settings import settings
from tasks.journal import FileLease, read_lease, take

ROOT = Path(__file__).parents[3]
TAKER = """
import sys
from tasks.domain.errors import ConflictError
from tasks.journal import take

sys.stdin.readline()
try:
    print(take("shop", sys.argv[1]).epoch, flush=True)
except ConflictError:
    print("refused", flush=True)
sys.stdin.readline()
"""
HOLDER = """
import sys
from tasks.domain.errors import LeaseLostError
from tasks.journal import take

lease = take("shop", "frozen")
print("held", flush=True)
for line in sys.stdin:
    (lease.folder / "rds.json").write_text("the frozen one's")
    try:
        lease.check()
        print("may go on", flush=True)
    except LeaseLostError:
        print("lost", flush=True)
"""
TAKERS = 6


@pytest.fixture
def quick(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A time to live of one second."""
    monkeypatch.setenv("DAVY_LEASE_TTL", "1s")
    settings.cache_clear()
    yield home
    settings.cache_clear()


@pytest.fixture
def programs() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs; ends them after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *words]
        started.append(subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def until(holds: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def expired() -> bool:
    state = read_lease("shop")
    return state is not None and not state.alive


def current() -> Path:
    return settings().routes / "shop" / "current"


def age(lease: FileLease) -> None:
    """Its carrier is gone: nobody renews it any more."""
    lease._stop.set()
    os.utime(lease.folder / "lease.json", (0, 0))


def test_the_first_lease_is_epoch_one_and_says_who_holds_it(home: Path) -> None:
    del home
    assert read_lease("shop") is None
    lease = take("shop", "r1")
    state = read_lease("shop")
    assert state
    assert (state.epoch, state.release, state.alive, state.released) == (1, "r1", True, False)
    lease.check()
    lease.release_now()


def test_only_one_of_many_processes_gets_it(
    home: Path, programs: Callable[..., subprocess.Popen[str]]
) -> None:
    del home
    takers = [programs(TAKER, f"r{n}") for n in range(TAKERS)]
    for taker in takers:
        tell(taker)
    assert sorted(hear(taker) for taker in takers) == ["1"] + ["refused"] * (TAKERS - 1)


def test_a_lease_that_is_held_is_refused_to_everybody(home: Path) -> None:
    del home
    lease = take("shop", "r1")
    for release in ("r1", "r2"):
        with pytest.raises(ConflictError, match="release 'r1' holds the lease"):
            take("shop", release)
    assert take("other-shop", "r2").epoch == 1
    lease.check()
    lease.release_now()


def test_only_the_same_release_may_be_taken_over_while_alive(home: Path) -> None:
    del home
    first = take("shop", "r1")
    with pytest.raises(ConflictError):
        take("shop", "r2", over=True)
    second = take("shop", "r1", over=True)
    assert second.epoch == 2
    second.check()
    with pytest.raises(LeaseLostError, match="found epoch 2"):
        first.check()
    second.release_now()


def test_a_lease_that_was_given_back_is_free_at_once(home: Path) -> None:
    del home
    first = take("shop", "r1")
    first.release_now()
    with pytest.raises(LeaseLostError):
        first.check()
    second = take("shop", "r2")
    assert second.epoch == 2
    first.release_now()
    second.check()
    second.release_now()


def test_a_lease_that_nobody_renews_can_be_taken(home: Path) -> None:
    del home
    first = take("shop", "r1")
    age(first)
    with pytest.raises(LeaseLostError):
        first.check()
    second = take("shop", "r2")
    assert second.epoch == 2
    second.release_now()


def test_a_carrier_keeps_its_lease_for_longer_than_the_time_to_live(quick: Path) -> None:
    del quick
    lease = take("shop", "r1")
    born = time.monotonic()
    until(lambda: time.monotonic() - born > 2.5)
    lease.check()
    lease.release_now()


def test_a_child_process_cannot_use_it(home: Path) -> None:
    del home
    lease = take("shop", "r1")
    child = os.fork()
    if not child:
        try:
            lease.check()
        except LeaseLostError:
            os._exit(7)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    lease.check()
    lease.release_now()


def test_a_child_process_cannot_give_it_back(home: Path) -> None:
    del home
    lease = take("shop", "r1")
    child = os.fork()
    if not child:
        lease.release_now()
        os._exit(0)
    os.waitpid(child, 0)
    lease.check()
    lease.release_now()


def test_a_carrier_that_froze_changes_nothing_when_it_wakes(
    quick: Path, programs: Callable[..., subprocess.Popen[str]]
) -> None:
    del quick
    holder = programs(HOLDER)
    assert hear(holder) == "held"
    tell(holder)
    assert hear(holder) == "may go on"
    holder.send_signal(signal.SIGSTOP)
    until(expired)
    lease = take("shop", "watcher")
    (lease.folder / "rds.json").write_text("the watcher's")
    holder.send_signal(signal.SIGCONT)
    tell(holder)
    assert hear(holder) == "lost"
    assert (current() / "rds.json").read_text() == "the watcher's"
    lease.check()
    lease.release_now()


def test_a_carrier_that_froze_does_not_come_back_to_life_when_nobody_took_over(
    quick: Path, programs: Callable[..., subprocess.Popen[str]]
) -> None:
    del quick
    holder = programs(HOLDER)
    assert hear(holder) == "held"
    holder.send_signal(signal.SIGSTOP)
    until(expired)
    holder.send_signal(signal.SIGCONT)
    tell(holder)
    assert hear(holder) == "lost"
    lease = take("shop", "next")
    lease.release_now()


def test_the_next_carrier_begins_with_the_routes_of_the_last_one(home: Path) -> None:
    del home
    first = take("shop", "r1")
    (first.folder / "rds.json").write_text("routes")
    first.release_now()
    second = take("shop", "r2")
    assert (current() / "rds.json").read_text() == "routes"
    assert json.loads((current() / "lease.json").read_text()) == {"release": "r2", "released": False}
    assert current().resolve() == second.folder.resolve()
    second.release_now()


def test_a_taker_that_died_at_once_is_waited_for_and_then_passed(home: Path) -> None:
    del home
    first = take("shop", "r1")
    (first.folder / "rds.json").write_text("routes")
    first.release_now()
    dead = settings().routes / "shop" / "epoch-000002"
    dead.mkdir()
    with pytest.raises(ConflictError):
        take("shop", "r2")
    os.utime(dead, (0, 0))
    lease = take("shop", "r2")
    assert lease.epoch == 3
    assert (current() / "rds.json").read_text() == "routes"
    lease.release_now()


def test_epochs_only_grow_and_old_folders_are_cleared_away(home: Path) -> None:
    del home
    epochs = []
    for number in range(12):
        lease = take("shop", f"r{number}")
        epochs.append(lease.epoch)
        lease.release_now()
    assert epochs == list(range(1, 13))
    left = sorted(path.name for path in (settings().routes / "shop").glob("epoch-*"))
    assert left[-1] == "epoch-000012"
    assert len(left) <= 6
    assert current().resolve().name == "epoch-000012"


def test_a_reader_of_the_current_routes_never_finds_them_missing(home: Path) -> None:
    del home
    lease = take("shop", "r0")
    (lease.folder / "rds.json").write_text("routes")
    for number in range(1, 20):
        lease = take("shop", "r0", over=True)
        assert (current() / "rds.json").read_text() == "routes", number
    lease.release_now()
