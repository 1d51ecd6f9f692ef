"""The supervisor: its programs' files, its processes, and what it can be asked to do.

One ``supervisord`` per state folder keeps programs running. A program is a JSON record (what to
run, see `launch`) and a section of configuration. Both lie in the state folder, so whatever
process comes next finds them.
"""

from __future__ import annotations

import base64
import http.client
import math
import os
import shlex
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from xml.parsers.expat import ExpatError

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.settings import settings
from tasks.fleets import launch

ALIVE = frozenset({"STARTING", "RUNNING"})
"""States in which a program has a process that is meant to go on."""
ENDED = frozenset({"STOPPED", "EXITED", "FATAL"})
"""States in which a program can be forgotten."""

_ANSWERS_WITHIN = 10
"""Seconds for one call of the supervisor."""
_MARGIN = timedelta(seconds=10)
"""Beyond a program's own time to stop: for SIGKILL, and a busy machine."""
_POLL = 0.05

_BAD_NAME, _FAILED, _ALREADY_STARTED, _NOT_RUNNING, _ALREADY_ADDED, _STILL_RUNNING, _CANT_REREAD = (
    10, 30, 60, 70, 90, 91, 92,
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """Something that the supervisor keeps running.

    Attributes:
        name: Unique in the state folder; letters, digits and ``.-_=~``.
        command: No shell reads it; the first word is the path of an executable.
        environment: Added to the supervisor's own.
        without: What it does not get of the supervisor's own: names, in which ``*`` stands for anything.
        directory: Where it runs; a relative one counts from the caller's.
        stop_within: Time between SIGTERM and SIGKILL, rounded up to whole seconds.
        orphans: What to do, when it comes back after a crash, with processes that it had
            started and left.
    """

    name: str
    command: tuple[str, ...]
    stop_within: timedelta
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path()
    orphans: Literal["end", "leave"] = "end"
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What its record holds."""
        return {
            "name": self.name,
            "command": list(self.command),
            "stop_within": self.stop_within.total_seconds(),
            "environment": dict(self.environment),
            "directory": str(self.directory.absolute()),
            "orphans": self.orphans,
            "without": list(self.without),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Program:
        """The program of a record."""
        return cls(
            name=content["name"],
            command=tuple(content["command"]),
            stop_within=timedelta(seconds=content["stop_within"]),
            environment=content["environment"],
            directory=Path(content["directory"]),
            orphans=content["orphans"],
            without=tuple(content.get("without", ())),  # replicas outlive an update
        )

    def to_section(self, record: Path) -> str:
        """Its section in the supervisor's configuration; paths count from the state folder.

        The many retries are all of them: a program that did run is never given up.
        """
        words = (sys.executable, "-I", launch.__file__, str(record.relative_to(settings().root)))
        return "\n".join(
            (
                f"[program:{self.name}]",
                f"command = {shlex.join(words)}".replace("%", "%%"),
                "autorestart = true",
                "startretries = 1000000000",
                f"stopwaitsecs = {math.ceil(self.stop_within.total_seconds())}",
                "killasgroup = true",
                "redirect_stderr = true",
                f"stdout_logfile = logs/{self.name}.log",
                "stdout_logfile_maxbytes = 1MB",
                "stdout_logfile_backups = 1",
                "",
            )
        )


@dataclass(frozen=True)
class State:
    """What the supervisor says of a program: its state's name, and since when it is running."""

    name: str
    uptime: timedelta


class Supervisor:
    """The supervisor of this state folder.

    Args:
        before_change: Called directly before each call that changes anything; what it raises
            stops the change.
    """

    def __init__(self, before_change: Callable[[], object] = lambda: None) -> None:
        self._before_change = before_change

    def states(self) -> dict[str, State]:
        """Every program by name.

        Raises:
            TransientError: The supervisor does not answer; retried.
        """
        return {
            info["name"]: State(info["statename"], timedelta(seconds=max(0, info["now"] - info["start"])))
            for info in self._call("getAllProcessInfo")
        }

    def add(self, names: Collection[str]) -> None:
        """Start the programs of these names, whose configuration is written.

        Raises:
            TransientError: The supervisor does not answer; retried.
            PermanentError: It cannot read its configuration; not retried.
        """
        known = self.states()
        missing = [name for name in names if name not in known]
        if missing:
            self._change("reloadConfig")
        for name in missing:
            self._change("addProcessGroup", name, tolerate={_ALREADY_ADDED})
        for name in names:
            if name in known and known[name].name in {"STOPPED", "FATAL"}:
                self._change("startProcess", name, False, tolerate={_ALREADY_STARTED})  # noqa: FBT003 - XML-RPC has no keywords

    def remove(self, names: Collection[str], stop_within: timedelta) -> None:
        """Stop these programs, all at once, and forget them; return when that is done.

        A program that has just died would come back: so each is looked at until it is forgotten.

        Raises:
            TransientError: The supervisor does not answer, or they do not end; retried.
        """
        deadline = time.monotonic() + (stop_within + _MARGIN).total_seconds()
        while left := {name: state for name, state in self.states().items() if name in names}:
            if time.monotonic() > deadline:
                msg = f"supervisor: {', '.join(sorted(left))} still there, expected them to end within {stop_within}"
                raise TransientError(msg)
            for name, state in left.items():
                if state.name in ENDED:
                    self._change("removeProcessGroup", name, tolerate={_BAD_NAME, _STILL_RUNNING})
                elif state.name != "STOPPING":
                    self._change("stopProcess", name, False, tolerate={_BAD_NAME, _NOT_RUNNING, _FAILED})  # noqa: FBT003 - XML-RPC has no keywords
            time.sleep(_POLL)

    def shut_down(self) -> None:
        """Ask it to end.

        Raises:
            TransientError: The supervisor does not answer; retried.
        """
        self._change("shutdown")

    def _change(self, method: str, *arguments: object, tolerate: Collection[int] = ()) -> None:
        self._before_change()
        self._call(method, *arguments, tolerate=tolerate)

    def _call(self, method: str, *arguments: object, tolerate: Collection[int] = ()) -> Any:  # noqa: ANN401 - what XML-RPC gives
        port = settings().supervisor_port
        try:
            secret = base64.b64encode(f"davy:{password_file().read_text()}".encode()).decode()
            transport = _Transport(headers=[("Authorization", f"Basic {secret}")])  # an URL shows in errors
            with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}", transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in tolerate:
                return None
            kind = PermanentError if fault.faultCode == _CANT_REREAD else TransientError
            msg = (
                f"supervisor: {method}{arguments} was answered {fault.faultString!r}, expected it to be done"
            )
            raise kind(msg) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            msg = f"supervisor: no answer on port {port} ({type(error).__name__}), expected it to run: start it with `davy up`"
            raise TransientError(msg) from error


class _Transport(xmlrpc.client.Transport):
    """HTTP that does not wait for ever."""

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = _ANSWERS_WITHIN
        return connection


def password_file() -> Path:
    """The supervisor's password, readable by its user only."""
    return settings().root / "supervisor.password"


def write_whole(path: Path, text: str) -> None:
    """Put *text* there; readers see all of it or what was there before."""
    _write_beside(path, text).replace(path)


def write_new(path: Path, text: str) -> None:
    """Like `write_whole`, for one writer only.

    Raises:
        FileExistsError: Another was first; nothing was written.
    """
    temporary = _write_beside(path, text)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()


def _write_beside(path: Path, text: str) -> Path:
    """A temporary file, readable by this user only: environments may hold secrets."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        msg = f"{path}: not written ({error.strerror}), expected a folder with room for it"
        raise TransientError(msg) from error
    return Path(name)
