"""The supervisor as `davy up` and `davy down` use it."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import psutil
import pytest

from deployments.supervisor import start_supervisor, stop_supervisor, supervisor_is_up
from tasks.domain.errors import InputError, TransientError
from tasks.domain.model import Revision, Slot
from tasks.domain.settings import settings
from tasks.domain.spec import Canary
from tasks.fleets.launch import MARK, lives, marked
from tasks.fleets.local import LocalProcesses
from tasks.fleets.processes import starts
from tasks.fleets.supervisor import Program, Supervisor, password_file
from tasks.journal import take

pytestmark = pytest.mark.usefixtures("stack")

SOON = timedelta(seconds=60)
SLEEP = "import time; time.sleep(1000)"
STUBBORN = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w').close(); {SLEEP}"
)
UNMARKED = f"import os, sys; os.execve(sys.executable, [sys.executable, '-c', '{SLEEP}'], {{}})"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}'], start_new_session=True); {SLEEP}"


@pytest.fixture
def stack(home: Path) -> Iterator[Path]:
    """The test's state folder; whatever runs for it at the end is ended."""
    yield home
    stop_supervisor()


def program(code: str, name: str = "part", **changes: object) -> Program:
    settings().root.mkdir(exist_ok=True)
    given = {"stop_within": timedelta(seconds=5), "directory": settings().root} | changes
    return Program(name, (sys.executable, "-c", code), **given)  # type: ignore[arg-type]  # a test's shorthand


def process_of(name: str, folder: str = "programs") -> psutil.Process | None:
    noted = starts(settings().root / folder / f"{name}.json")
    process = noted[-1].process() if noted else None
    return process if process and lives(process) else None


def supervisor_pid() -> int:
    return int((settings().root / "supervisord.pid").read_text())


def ours() -> list[psutil.Process]:
    return [process for process, mark in marked().items() if mark.startswith(str(settings().root))]


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON.total_seconds()
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def deployed(fleet: dict[str, object] | None = None, **fields: object) -> tuple[LocalProcesses, int]:
    """A service with one healthy replica, and its port."""
    serve = f"{sys.executable} -m http.server --bind 127.0.0.1 {{port}}"
    own = {"service": "shop", "fleet": {"command": serve} | (fleet or {}), "router": {"port": 18080}}
    return started(Canary.model_validate(own | fields))


def started(service: Canary) -> tuple[LocalProcesses, int]:
    fleet, revision, lease = LocalProcesses(service), Revision("shop", Slot.BLUE, "v1"), take("shop", "one")
    fleet.deploy(revision, 1, lease)
    fleet.wait_healthy(revision, 1, SOON)
    lease.release_now()
    return fleet, fleet.observe()[0].port


def test_programs_get_their_environment_and_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAVY_LEASE_TTL", "21s")
    settings.cache_clear()
    report = "import os, sys; print(*map(os.environ.get, sys.argv[1:]), sep='|', flush=True); " + SLEEP
    odd = "50% of \"it\", 'all'; #1"
    part = program(report, environment={"ODD": odd})
    names = (
        "ODD",
        "DAVY_HOME",
        "DAVY_SUPERVISOR_PORT",
        "DAVY_LEASE_TTL",
        "DAVY_REPLICA_PORTS",
        "DAVY_APPROVALS_KEY_FILE",
    )
    start_supervisor([Program(part.name, (*part.command, *names), part.stop_within, part.environment)])

    log = settings().root / "logs" / "part.log"
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    expected = [odd, str(settings().root), str(settings().supervisor_port), "21s", "[20000, 29999]"]
    expected.append("None")  # not set here, so not there
    assert log.read_text().rstrip("\n").split("|") == expected


PRIVATE = {
    "PREFECT_API_AUTH_STRING": "davy:one",
    "PREFECT_SERVER_API_AUTH_STRING": "davy:one",
    "DAVY_WEBHOOK_GITHUB_SECRET": "two",
    "DAVY_REGISTRY_LOCALHOST_5000_PASSWORD": "three",
    "SLACK_TOKEN": "four",
    "HOOK_ADDRESS": "five",
    "SIGNING_KEY": "six",
}
NOTICES = [
    {"kind": "slack", "channel": "#shop", "token": {"env": "SLACK_TOKEN"}},
    {"kind": "webhook", "url_from": {"env": "HOOK_ADDRESS"}, "secret": {"env": "SIGNING_KEY"}},
]


def serving(port: int) -> psutil.Process:
    """The replica on *port*, once it has become its service's program."""

    def program_there() -> psutil.Process | None:
        there = process_of(str(port), "replicas")
        return there if there and "http.server" in there.cmdline() else None

    eventually(program_there)
    found = program_there()
    assert found
    return found


def test_replicas_get_no_secret_of_davys_and_programs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (PRIVATE | {"SHOP_COLOUR": "blue"}).items():
        monkeypatch.setenv(name, text)
    start_supervisor([program(SLEEP)])
    _, port = deployed({"environment": {"SIGNING_KEY": "shop's own"}}, notify=NOTICES)

    first = serving(port)
    first_had = first.environ()
    first.kill()
    eventually(lambda: process_of(str(port), "replicas") not in (None, first))
    for has in (first_had, serving(port).environ()):
        assert PRIVATE.keys() & has.keys() == {"SIGNING_KEY"}
        assert (has["SIGNING_KEY"], has["SHOP_COLOUR"], has["PATH"]) == (
            "shop's own",
            "blue",
            os.environ["PATH"],
        )
    part = process_of("part")
    assert part
    assert {name: part.environ().get(name) for name in PRIVATE} == PRIVATE
    record = (settings().replicas / f"{port}.json").read_text()
    assert not [text for name, text in PRIVATE.items() if name != "SIGNING_KEY" and f'"{text}"' in record]


def test_a_replica_of_an_older_davys_record_comes_back() -> None:
    start_supervisor([])
    fleet, port = deployed()
    record = settings().replicas / f"{port}.json"
    stop_supervisor()
    content = json.loads(record.read_text())
    del content["without"]
    record.write_text(json.dumps(content))
    start_supervisor([])
    fleet.wait_healthy(Revision("shop", Slot.BLUE, "v1"), 1, SOON)
    assert [replica.port for replica in fleet.observe()] == [port]


def test_starting_again_leaves_programs_running_and_adds_missing_ones() -> None:
    start_supervisor([program(SLEEP)])
    assert supervisor_is_up()
    eventually(lambda: process_of("part"))
    before = process_of("part")
    start_supervisor([program(SLEEP), program(SLEEP, "other")])
    eventually(lambda: process_of("other"))
    assert process_of("part") == before


def test_secrets_are_readable_by_their_user_only() -> None:
    start_supervisor([program(SLEEP, environment={"TOKEN": "secret"})])
    home = settings().root
    for path in (home / "supervisor.password", home / "supervisord.conf", home / "programs" / "part.json"):
        assert path.stat().st_mode & 0o077 == 0


def test_stopping_leaves_nothing_and_can_be_repeated() -> None:
    start_supervisor([program(PARENT), program(STUBBORN, "stubborn", stop_within=timedelta(seconds=1))])
    deployed()
    eventually((settings().root / "ready").exists)
    eventually(lambda: len(ours()) == 4)
    supervisor = psutil.Process(supervisor_pid())

    stop_supervisor()
    assert ours() == []
    assert not lives(supervisor)
    assert not supervisor_is_up()
    stop_supervisor()


def test_replicas_come_back_on_their_ports_with_the_supervisor() -> None:
    start_supervisor([])
    fleet, port = deployed()
    stop_supervisor()
    start_supervisor([])
    fleet.wait_healthy(Revision("shop", Slot.BLUE, "v1"), 1, SOON)
    assert [(replica.port, replica.restarts) for replica in fleet.observe()] == [(port, 0)]


def test_what_a_killed_supervisor_left_is_ended_and_comes_back() -> None:
    parts = [program(PARENT), program(UNMARKED, "unmarked")]
    start_supervisor(parts)
    fleet, port = deployed()
    eventually(lambda: (unmarked := process_of("unmarked")) and MARK not in unmarked.environ())
    eventually(lambda: len(ours()) == 3)
    left = {*ours(), *filter(None, [process_of("unmarked")])}
    os.kill(supervisor_pid(), signal.SIGKILL)

    start_supervisor(parts)
    assert len(left) == 4
    assert not any(map(lives, left))
    fleet.wait_healthy(Revision("shop", Slot.BLUE, "v1"), 1, SOON)
    assert [(replica.port, replica.restarts) for replica in fleet.observe()] == [(port, 0)]


def test_a_stranger_with_the_process_id_of_a_replica_is_left_alone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP], env={**os.environ, MARK: "/another/home/1.json"}
    ) as stranger:
        start_supervisor([])
        _, port = deployed()
        stop_supervisor()
        (settings().replicas / f"{port}.starts").write_text(f"{stranger.pid} {time.time() - 3600}\n")
        (settings().root / "supervisord.pid").write_text(str(stranger.pid))
        os.utime(settings().root / "supervisord.pid", (0, 0))
        start_supervisor([])
        stop_supervisor()
        assert stranger.poll() is None
        stranger.kill()


def test_an_answer_of_something_else_is_transient_and_shows_no_password() -> None:
    start_supervisor([])
    password = password_file().read_text()
    stop_supervisor()
    address = ("127.0.0.1", settings().supervisor_port)
    with http.server.HTTPServer(address, http.server.BaseHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(TransientError, match="davy up") as raised:
            Supervisor().states()
        other.shutdown()
    assert password not in f"{raised.value} {raised.value.__cause__!r}"


def test_a_port_in_use_is_refused_before_anything_is_written() -> None:
    with socket.create_server(("127.0.0.1", settings().supervisor_port)):
        with pytest.raises(InputError) as raised:
            start_supervisor([program(SLEEP)])
        assert raised.value.field == "supervisor_port"
        assert list(settings().root.iterdir()) == []


@pytest.mark.parametrize(("orphans", "stays"), [("end", False), ("leave", True)])
def test_a_killed_program_comes_back_and_its_orphans_go_or_stay(orphans: str, stays: bool) -> None:  # noqa: FBT001 - a case
    start_supervisor([program(PARENT, orphans=orphans)])
    eventually(lambda: len(ours()) == 2)
    killed = process_of("part")
    assert killed
    (child,) = killed.children()
    killed.kill()

    eventually(lambda: process_of("part") not in (None, killed))
    eventually(lambda: lives(child) is stays)
    eventually(lambda: len(ours()) == (3 if stays else 2))
