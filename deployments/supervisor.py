"""Start and stop the supervisor, with the programs of the embedded stack and all replicas."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil

from tasks.domain.errors import InputError, PermanentError, TransientError
from tasks.domain.settings import settings
from tasks.fleets.launch import MARK, marked
from tasks.fleets.processes import Start, end, family
from tasks.fleets.supervisor import Program, Supervisor, password_file, write_new, write_whole

_MAIN = """\
[supervisord]
logfile = logs/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = supervisord.pid
childlogdir = logs

[inet_http_server]
port = 127.0.0.1:{port}
username = davy
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = replicas/*.conf
"""
"""Paths count from the state folder."""
_ANSWERS_AFTER = 15
"""Seconds that a new supervisor may take to answer."""
_ENDS_AFTER = timedelta(seconds=10)
"""How long a supervisor may take to end, once its programs have."""
_POLL = 0.05


def supervisor_is_up() -> bool:
    """Whether this state folder's supervisor answers now."""
    try:
        Supervisor().states()
    except TransientError:
        return False
    return True


def start_supervisor(programs: Sequence[Program]) -> None:
    """Keep *programs* and all replicas running; return once the supervisor answers.

    Safe to repeat: programs that run already stay as they are. What a killed supervisor left
    behind is ended first; its replicas come back.

    Raises:
        InputError: The port is in use, or the folder's path cannot be used; not retried.
        PermanentError: The supervisor refuses to start; not retried.
        TransientError: It does not answer, or something left behind does not end; retried.
    """
    home, port = settings().root, settings().supervisor_port
    if set("[]*?") & set(str(home)):
        raise InputError("home", str(home), "a path without any of [ ] * ?")
    if not supervisor_is_up():
        if _old_supervisor() is None and not _is_free(port):
            raise InputError("supervisor_port", port, "a port that nothing listens on")
        end_leftovers()
        _forget_runs()
        _write_files(programs)
        _launch()
    else:
        _write_files(programs)
    Supervisor().add([program.name for program in programs])


def stop_supervisor() -> None:
    """End the supervisor, its programs and all that they started; replicas come back with it.

    Returns once nothing is left. Nothing there is no error.

    Raises:
        TransientError: Something does not end; retried.
    """
    relatives, process = family(_records()), _old_supervisor()
    if supervisor_is_up():
        supervisor = Supervisor()
        supervisor.remove(supervisor.states().keys(), _longest_stop())
        supervisor.shut_down()
    end([process] if process else [], _ENDS_AFTER)  # it removes its pid file before it ends
    end_leftovers(relatives)


def end_leftovers(known: Collection[psutil.Process] = ()) -> None:
    """End a supervisor that does not answer, and what it left, with all that they started.

    Args:
        known: Processes that must end too.

    Raises:
        TransientError: One does not even end by SIGKILL; retried.
    """
    relatives = {*known, *family(_records())}
    old = _old_supervisor()  # first: it would bring the others back
    end([old] if old else [], _ENDS_AFTER)
    ours = f"{settings().root.resolve()}/"
    relatives |= {process for process, mark in marked().items() if mark.startswith(ours)}
    end(relatives, _longest_stop())


def _records() -> list[Path]:
    return [*_programs().glob("*.json"), *settings().replicas.glob("*.json")]


def _programs() -> Path:
    return settings().root / "programs"


def _longest_stop() -> timedelta:
    longest = timedelta(0)
    for record in _records():
        with suppress(FileNotFoundError):  # retired in the same moment
            longest = max(longest, Program.from_json(json.loads(record.read_text())).stop_within)
    return longest


def _old_supervisor() -> psutil.Process | None:
    """The supervisor that this folder's pid file tells of, if it lives, answering or not."""
    path = settings().root / "supervisord.pid"
    try:
        return Start(int(path.read_text()), path.stat().st_mtime).process()
    except (FileNotFoundError, ValueError):
        return None


def _forget_runs() -> None:
    """Forget the programs of last time, and of each replica the start that was not a restart."""
    shutil.rmtree(_programs(), ignore_errors=True)
    for path in settings().replicas.glob("*.starts"):
        write_whole(path, "".join(path.read_text().splitlines(keepends=True)[:-1]))


def _write_files(programs: Sequence[Program]) -> None:
    home = settings().root
    (home / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        write_new(password_file(), secrets.token_urlsafe())
    sections = [_MAIN.format(port=settings().supervisor_port, password=password_file().read_text())]
    for program in programs:
        record = _programs() / f"{program.name}.json"
        write_whole(record, json.dumps(program.to_json()))
        sections.append(program.to_section(record))
    write_whole(_configuration(), "\n".join(sections))


def _configuration() -> Path:
    return settings().root / "supervisord.conf"


def _launch() -> None:
    """Start it; it listens by the time that its first process has handed over to the daemon."""
    command = [sys.executable, "-I", "-m", "supervisor.supervisord", "-c", str(_configuration())]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and file
            command,
            cwd=settings().root,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWERS_AFTER,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"supervisor: not started after {_ANSWERS_AFTER} s, expected it to be"
        raise TransientError(msg) from error
    if done.returncode:
        msg = f"supervisor: ended at once ({done.stderr.strip().splitlines()[-1:]}), expected it to start"
        raise PermanentError(msg)
    deadline = time.monotonic() + _ANSWERS_AFTER
    while not supervisor_is_up():
        if time.monotonic() > deadline:
            msg = f"supervisor: no answer after {_ANSWERS_AFTER} s, expected one"
            raise TransientError(msg)
        time.sleep(_POLL)


def _environment() -> dict[str, str]:
    """This process's environment, with the settings as they are here: all programs agree on them."""
    inherited = {key: value for key, value in os.environ.items() if key != MARK}
    for name, value in settings().model_dump(mode="json", exclude_none=True).items():
        inherited[f"DAVY_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    if auth := os.environ.get("PREFECT_API_AUTH_STRING"):  # not in a program's record, which is a file
        inherited.setdefault("PREFECT_SERVER_API_AUTH_STRING", auth)
    return inherited | {"DAVY_HOME": str(settings().root)}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
