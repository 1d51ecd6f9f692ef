"""Fleet of local processes: every replica is a program of the supervisor.

A replica belongs to its service, not to the process that deployed it. All there is to know of
it lies in `settings().replicas`, in files named by its port: ``.json`` (its record; writing it
first is what claims the port), ``.conf`` (what the supervisor reads) and ``.starts`` (one line
for each start). A replica that did start and has no ``.conf`` is being retired.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import httpx

from tasks.domain.errors import TransientError, UnhealthyError
from tasks.domain.model import Change, Health, Lease, Replica, Revision, Slot
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.domain.units import format_duration
from tasks.fleets.command import hidden_from, program_name, program_of
from tasks.fleets.processes import end, family, last_words, starts
from tasks.fleets.supervisor import ALIVE, Program, State, Supervisor, write_new, write_whole

HOST = "127.0.0.1"
ENDS_TOO_OFTEN = 3
"""A replica that ended so often while it was waited for won't become healthy."""
KEPT_LOGS = 100
"""How many log files of retired replicas stay, for a look."""
_POLL = 0.1
_ASKED_AT_ONCE = 32


@dataclass(frozen=True)
class _Copy:
    """A replica as its record has it."""

    record: Path
    program: Program
    revision: Revision
    number: int

    @property
    def port(self) -> int:
        return int(self.record.stem)

    @property
    def conf(self) -> Path:
        return self.record.with_suffix(".conf")

    @property
    def restarts(self) -> int:
        return max(0, len(starts(self.record)) - 1)

    def to_json(self) -> dict[str, Any]:
        of = {"service": self.revision.service, "slot": self.revision.slot, "version": self.revision.version}
        return self.program.to_json() | {"revision": of, "number": self.number}


class LocalProcesses:
    """The fleet of one service: processes on this machine."""

    def __init__(self, service: ServiceFile) -> None:
        self._service = service.service
        self._fleet = service.local
        self._hidden = hidden_from(service)

    def check(self, version: str) -> None:
        """See `Fleet.check`."""
        program_of(self._fleet, Revision(self._service, Slot.CANDIDATE, version), number=1, port=0)

    def changes(self, revision: Revision, replicas: int) -> tuple[Change, ...]:
        """See `Fleet.changes`; a program is made when it is started."""
        del revision, replicas
        return ()

    def observe(self) -> tuple[Replica, ...]:
        """See `Fleet.observe`; all replicas are asked at the same time."""
        return self._look_at(self._copies())

    def deploy(self, revision: Revision, replicas: int, lease: Lease) -> None:
        """See `Fleet.deploy`. Running copies stay as they are, whatever the service file says now."""
        here = self._copies(revision)
        kept, surplus = here[:replicas], here[replicas:]
        taken = {copy.number for copy in kept}
        missing = list(islice((n for n in count(1) if n not in taken), replicas - len(kept)))
        for number in missing:
            program_of(self._fleet, revision, number, port=0)  # refuses before anything is touched
        supervisor = Supervisor(lease.check)
        supervisor.states()  # likewise when it is not there
        for number in missing:
            lease.check()
            kept.append(self._claim(revision, number))
        for copy in kept:
            if not copy.conf.exists():
                lease.check()
                write_whole(copy.conf, copy.program.to_section(copy.record))
        supervisor.add([copy.program.name for copy in kept])
        self._remove(surplus, lease)

    def wait_healthy(self, revision: Revision, replicas: int, within: timedelta) -> None:
        """See `Fleet.wait_healthy`.

        Raises:
            TransientError: The supervisor does not answer; retried.
            UnhealthyError: Not in time, or a replica ended `ENDS_TOO_OFTEN` times meanwhile
                without being healthy in between; not retried.
        """
        deadline = time.monotonic() + within.total_seconds()
        may_end: dict[str, int] = {}
        while True:
            seen = self._look_at(self._copies(revision))
            if sum(replica.health is Health.HEALTHY for replica in seen) >= replicas:
                return
            for replica in seen:
                name, ends = (
                    program_name(replica.revision, replica.number, replica.port),
                    replica.restarts + (replica.health is Health.DOWN),
                )
                if replica.health is Health.HEALTHY or name not in may_end:
                    may_end[name] = ends + ENDS_TOO_OFTEN
                if ends >= may_end[name]:
                    msg = f"{revision}: replica {replica.number} ended {ENDS_TOO_OFTEN} times, expected it to stay up: {last_words(name)}"
                    raise UnhealthyError(msg)
            if time.monotonic() > deadline:
                raise UnhealthyError(_too_late(revision, seen, replicas, within))
            time.sleep(_POLL)

    def answer(self, replica: Replica, path: str, within: timedelta) -> str:
        """See `Fleet.answer`."""
        url = f"http://{replica.host}:{replica.port}{path}"
        try:
            return str(httpx.get(url, timeout=within.total_seconds()).status_code)
        except httpx.HTTPError as error:
            return type(error).__name__

    def retire(self, revision: Revision, lease: Lease) -> None:
        """See `Fleet.retire`."""
        self._remove(self._copies(revision), lease)

    def _copies(self, revision: Revision | None = None) -> list[_Copy]:
        """The service's replicas by their records, sorted; only those of *revision*, if given."""
        found = (_read(path) for path in settings().replicas.glob("*.json"))
        mine = [copy for copy in found if copy and copy.revision.service == self._service]
        wanted = [copy for copy in mine if revision in (None, copy.revision)]
        return sorted(wanted, key=lambda copy: (copy.revision, copy.number, copy.port))

    def _claim(self, revision: Revision, number: int) -> _Copy:
        """Write a record for a free port; ports are drawn, so that none is used again at once."""
        first, last = settings().replica_ports
        ports = range(first, last + 1)
        for port in filter(_is_free, secrets.SystemRandom().sample(ports, len(ports))):
            copy = _Copy(
                settings().replicas / f"{port}.json",
                replace(program_of(self._fleet, revision, number, port), without=self._hidden),
                revision,
                number,
            )
            with suppress(FileExistsError):
                write_new(copy.record, json.dumps(copy.to_json()))
                return copy
        msg = f"{revision}: no free port from {first} to {last}, expected one for replica {number}"
        raise TransientError(msg)

    def _remove(self, copies: Sequence[_Copy], lease: Lease) -> None:
        """Stop these at once, with all that they started, and forget them; the record goes last."""
        if not copies:
            return
        lease.check()
        records = [copy.record for copy in copies]
        relatives = family(records)
        for copy in copies:
            copy.conf.unlink(missing_ok=True)
        stop_within = max(copy.program.stop_within for copy in copies)
        Supervisor(lease.check).remove({copy.program.name for copy in copies}, stop_within)
        end(relatives | family(records), stop_within)
        for record in records:
            record.with_suffix(".starts").unlink(missing_ok=True)
            record.unlink(missing_ok=True)
        _prune_logs()

    def _look_at(self, copies: Collection[_Copy]) -> tuple[Replica, ...]:
        if not copies:
            Supervisor().states()  # whether it answers at all
            return ()
        states = Supervisor().states()
        here = [copy for copy in copies if copy.record.exists()]
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            return tuple(pool.map(lambda copy: self._look(copy, states.get(copy.program.name)), here))

    def _look(self, copy: _Copy, state: State | None) -> Replica:
        replica = Replica(copy.revision, copy.number, HOST, copy.port, Health.STARTING, copy.restarts)
        started = bool(starts(copy.record))
        if (started and not copy.conf.exists()) or (state and state.name == "STOPPING"):
            return replace(replica, health=Health.STOPPING, detail="told to stop")
        if state is None and not started:
            return replace(replica, detail="not started yet")
        if state is None or state.name not in ALIVE:
            return replace(replica, health=Health.DOWN, detail=last_words(copy.program.name))
        health, detail = self._ask(copy.port, state.uptime)
        return replace(replica, health=health, detail=detail)

    def _ask(self, port: int, uptime: timedelta) -> tuple[Health, str]:
        check = self._fleet.health
        connection = http.client.HTTPConnection(HOST, port, timeout=check.timeout.total_seconds())
        try:
            connection.request("GET", check.path)
            status = connection.getresponse().status
        except ConnectionRefusedError:
            health = Health.STARTING if uptime < check.ready_within else Health.UNHEALTHY
            return health, f"does not listen on port {port}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            limit = format_duration(check.timeout)
            return (
                Health.UNHEALTHY,
                f"does not answer on {check.path} within {limit} ({type(error).__name__})",
            )
        finally:
            connection.close()
        if status in range(200, 400):
            return Health.HEALTHY, ""
        return Health.UNHEALTHY, f"answers {status} on {check.path}"


def _read(record: Path) -> _Copy | None:
    """A replica's record, or None when it is gone."""
    try:
        content = json.loads(record.read_text())
    except FileNotFoundError:
        return None
    of = content["revision"]
    revision = Revision(of["service"], Slot(of["slot"]), of["version"])
    return _Copy(record, Program.from_json(content), revision, content["number"])


def _too_late(revision: Revision, seen: Sequence[Replica], replicas: int, within: timedelta) -> str:
    healthy = sum(replica.health is Health.HEALTHY for replica in seen)
    others = [f"replica {r.number} {r.detail}" for r in seen if r.health is not Health.HEALTHY]
    reasons = "; ".join(others) or f"{len(seen)} were deployed"
    return f"{revision}: {healthy} of {replicas} replicas healthy after {format_duration(within)}: {reasons}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _prune_logs() -> None:
    """Remove the oldest logs of retired replicas; the port ends a log's name."""
    live = {record.stem for record in settings().replicas.glob("*.json")}
    logs = (settings().root / "logs").glob("*--*.log*")
    gone = [log for log in logs if log.name.rpartition(".log")[0].rpartition("--")[2] not in live]
    with suppress(FileNotFoundError):  # another process removed one in the same moment
        for log in sorted(gone, key=lambda log: log.stat().st_mtime)[:-KEPT_LOGS]:
            log.unlink()
