"""The local fleet: real processes under a real supervisor."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tasks.domain.errors import TransientError, UnhealthyError
from tasks.domain.model import Health, Revision, Slot
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.fleets.launch import lives
from tasks.fleets.local import LocalProcesses
from tasks.fleets.processes import starts
from tests.tasks.fleets.local_replicas import BLUE, SOON, Make, lease_of, listening, pid_of, running

pytestmark = pytest.mark.alone
Eventually = Callable[..., None]


def retired(fleet: LocalProcesses) -> None:
    with lease_of("shop") as lease:
        fleet.retire(BLUE, lease)


@pytest.mark.usefixtures("supervisor")
def test_runs_so_many_healthy_copies_and_repeating_changes_nothing(service: Make) -> None:
    fleet = LocalProcesses(service())
    ports = running(fleet, replicas=3)
    pids = [pid_of(port) for port in ports]
    assert len(set(ports)) == 3

    assert running(fleet, replicas=3) == ports
    assert [pid_of(port) for port in ports] == pids
    assert [(r.number, r.health, r.restarts) for r in fleet.observe()] == [
        (n, Health.HEALTHY, 0) for n in (1, 2, 3)
    ]


@pytest.mark.usefixtures("supervisor")
def test_command_environment_and_folder_arrive_exactly_as_written(service: Make, tmp_path: Path) -> None:
    odd = "100%d \"a\", 'b'; $HOME #1 \\ \u00fc"
    version = "1.2.3+build/4 'x' ; rm"
    (tmp_path / "a folder").mkdir()
    given = {"environment": {"TEXT": odd + "{{{port}}}"}, "directory": str(tmp_path / "a folder")}
    made = service("ready", "{version}", "{service}-{replica}", odd, **given)
    (port,) = running(LocalProcesses(made), Revision("shop", Slot.CANDIDATE, version))

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        text, folder, _, *words = answer.read().decode().splitlines()
    assert text == f"{odd}{{{port}}}"
    assert folder == str(tmp_path / "a folder")
    assert words == ["ready", str(port), version, "shop-1", odd]


@pytest.mark.usefixtures("supervisor")
def test_shrinking_stops_the_highest_numbers_and_growing_fills_them_again(service: Make) -> None:
    fleet = LocalProcesses(service())
    first, second, third = running(fleet, replicas=3)

    assert running(fleet, replicas=1) == [first]
    assert not any(map(listening, (second, third)))
    assert running(fleet, replicas=2)[0] == first
    assert [replica.number for replica in fleet.observe()] == [1, 2]


@pytest.mark.usefixtures("supervisor")
def test_retiring_leaves_no_process_and_no_file_and_touches_no_other_version(service: Make) -> None:
    fleet = LocalProcesses(service())
    old = running(fleet, replicas=2)
    other = running(fleet, Revision("shop", Slot.BLUE, "v2"))
    pid = pid_of(other[0])

    retired(fleet)
    retired(fleet)
    assert not any(map(listening, old))
    assert {path.stem for path in settings().replicas.iterdir()} == {str(other[0])}
    assert pid_of(other[0]) == pid
    assert [replica.health for replica in fleet.observe()] == [Health.HEALTHY]


@pytest.mark.usefixtures("supervisor")
def test_replicas_outlive_their_deployer_and_are_found_by_another_process(service: Make) -> None:
    made = service()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        ports = pool.apply(_deploy_as_another_process, (made, 2))
    assert {r.port: r.health for r in LocalProcesses(made).observe()} == dict.fromkeys(ports, Health.HEALTHY)


@pytest.mark.usefixtures("supervisor")
def test_two_processes_deploy_at_once_and_share_no_port(
    service: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = 20000 + os.getpid() % 600 * 15  # few ports, but not those of a test run just before
    monkeypatch.setenv("DAVY_REPLICA_PORTS", f"[{first}, {first + 14}]")
    made = [service(name=name) for name in ("shop", "cart")]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        ports = pool.starmap(_deploy_as_another_process, [(each, 4) for each in made])
    assert len({*ports[0], *ports[1]}) == 8


def _deploy_as_another_process(made: ServiceFile, replicas: int) -> list[int]:
    return running(LocalProcesses(made), Revision(made.service, Slot.BLUE, "v1"), replicas)


@pytest.mark.usefixtures("supervisor")
def test_killed_replica_comes_back_on_its_port_without_what_it_had_started(
    service: Make, eventually: Eventually, free_port: Callable[[], int]
) -> None:
    fleet = LocalProcesses(service("parent", str(child_port := free_port())))
    (port,) = running(fleet)
    eventually(lambda: listening(child_port))
    pid, record = pid_of(port), settings().replicas / f"{port}.json"
    (child,) = psutil.Process(pid).children()

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(starts(record)) == 2)
    fleet.wait_healthy(BLUE, 1, SOON)
    (replica,) = fleet.observe()
    assert (replica.port, replica.restarts, replica.health) == (port, 1, Health.HEALTHY)
    assert not lives(child)


@pytest.mark.usefixtures("supervisor")
def test_retiring_ends_processes_that_left_the_group(
    service: Make, eventually: Eventually, free_port: Callable[[], int]
) -> None:
    fleet = LocalProcesses(service("parent", str(child_port := free_port())))
    running(fleet)
    eventually(lambda: listening(child_port))
    retired(fleet)
    assert not listening(child_port)


@pytest.mark.usefixtures("supervisor")
def test_replica_that_ignores_sigterm_is_killed_when_its_time_is_up(service: Make) -> None:
    fleet = LocalProcesses(service("stubborn", stop_within="1s"))
    ports = running(fleet, replicas=3)
    retired(fleet)
    assert not any(map(listening, ports))
    assert fleet.observe() == ()


@pytest.mark.usefixtures("supervisor")
def test_command_that_never_comes_up_is_reported_with_its_end_and_its_log(service: Make) -> None:
    fleet = LocalProcesses(service("dies"))
    with lease_of("shop") as lease:
        fleet.deploy(BLUE, 1, lease)
        with pytest.raises(
            UnhealthyError, match=r"shop/blue@v1: replica 1 ended 3 times.*exit status 3.*no database"
        ):
            fleet.wait_healthy(BLUE, 1, timedelta(minutes=10))  # longer than a test may take
        (replica,) = fleet.observe()
        assert replica.health is Health.DOWN
        assert "no database" in replica.detail


@pytest.mark.usefixtures("supervisor")
def test_old_crashes_of_a_replica_do_not_count_against_it(service: Make, eventually: Eventually) -> None:
    fleet = LocalProcesses(service())
    (port,) = running(fleet)
    record = settings().replicas / f"{port}.json"
    for times in (2, 3, 4):
        os.kill(pid_of(port), signal.SIGKILL)
        eventually(lambda times=times: len(starts(record)) == times)
    fleet.wait_healthy(BLUE, 1, SOON)
    assert fleet.observe()[0].restarts == 3


@pytest.mark.usefixtures("supervisor")
@pytest.mark.parametrize(
    ("mode", "health", "detail"),
    [
        ("sick", Health.UNHEALTHY, "answers 500 on /health"),
        ("slow", Health.UNHEALTHY, "does not answer on /health within 1s (TimeoutError)"),
        ("late", Health.STARTING, "does not listen on port"),
    ],
)
def test_a_replica_that_is_not_healthy_in_time_says_why(
    service: Make, eventually: Eventually, mode: str, health: Health, detail: str
) -> None:
    fleet = LocalProcesses(service(mode))
    with lease_of("shop") as lease:
        fleet.deploy(BLUE, 1, lease)
    eventually(lambda: detail in fleet.observe()[0].detail)
    assert fleet.observe()[0].health is health
    with pytest.raises(
        UnhealthyError, match="shop/blue@v1: 0 of 1 replicas healthy after 1s: replica 1"
    ) as raised:
        fleet.wait_healthy(BLUE, 1, timedelta(seconds=1))
    assert detail in str(raised.value)


@pytest.mark.usefixtures("home")
def test_without_a_supervisor_every_verb_says_how_to_start_it_and_writes_nothing(service: Make) -> None:
    fleet = LocalProcesses(service())
    with lease_of("shop") as lease, pytest.raises(TransientError, match="davy up"):
        fleet.deploy(BLUE, 1, lease)
    with pytest.raises(TransientError, match="davy up"):
        fleet.observe()
    assert not settings().replicas.exists()


@pytest.mark.usefixtures("supervisor")
def test_ports_in_use_are_not_given_and_running_out_of_them_is_said(
    service: Make, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    taken = free_port()
    monkeypatch.setenv("DAVY_REPLICA_PORTS", f"[{taken}, {taken}]")
    settings.cache_clear()
    fleet = LocalProcesses(service())
    with socket.create_server(("127.0.0.1", taken)), lease_of("shop") as lease:
        with pytest.raises(TransientError, match=f"no free port from {taken} to {taken}"):
            fleet.deploy(BLUE, 1, lease)
        assert fleet.observe() == ()
