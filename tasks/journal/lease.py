"""The lease of a service: an epoch, and the folder in which only its carrier writes.

Each service has a folder; every lease ever taken is a folder ``epoch-000017`` in it, and the
link ``current`` points to the newest. What a router reads for the service lies in the
epoch's folder and is reached through ``current``. That makes the fence: a carrier that froze,
lost its lease and wakes in the middle of a write, writes into a folder that nobody reads
any more. No lock is held, so a frozen or dead process keeps nothing, and a child process
has nothing to inherit.

Taking a lease is one `mkdir`, which succeeds for one taker only. Holding it means to touch
its ``lease.json`` more often than the lease's time to live.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.domain.errors import ConflictError, LeaseLostError
from tasks.domain.settings import settings

KEPT_EPOCHS = 5
"""How many old epochs' folders stay, for a look."""


@dataclass(frozen=True)
class LeaseState:
    """What is known of a service's newest lease.

    Attributes:
        age: Seconds since it was last renewed.
        released: Its carrier gave it back.
    """

    epoch: int
    release: str
    age: float
    released: bool

    @property
    def alive(self) -> bool:
        """Somebody holds it."""
        return not self.released and self.age < settings().lease_ttl.total_seconds()


class FileLease:
    """A lease that this process holds; see `take`."""

    def __init__(self, folder: Path, epoch: int, release: str) -> None:
        self.folder = folder
        self.epoch = epoch
        self.release = release
        self._process = os.getpid()
        self._stop = threading.Event()
        threading.Thread(target=self._keep, name=f"lease-{release}", daemon=True).start()

    def check(self) -> None:
        """Make sure that this carrier still holds the lease.

        Raises:
            LeaseLostError: A newer epoch exists, it has expired or was given back, or this
                is a child of the process that took it; not retried.
        """
        state = read_lease(self.folder.parent.name)
        if os.getpid() != self._process:
            msg = f"{self.release}: process {os.getpid()}, expected the lease's process {self._process}"
            raise LeaseLostError(msg)
        if state is None or state.epoch != self.epoch or not state.alive:
            found = "no lease" if state is None else f"epoch {state.epoch}, {state.age:.1f} s old"
            msg = f"{self.release}: found {found}, expected to hold epoch {self.epoch}"
            raise LeaseLostError(msg)

    def release_now(self) -> None:
        """Give the lease back, so that the next release need not wait for it to expire."""
        self._stop.set()
        with suppress(LeaseLostError):
            self.check()
            _write(self.folder, self.release, released=True)

    def _keep(self) -> None:
        """Renew it, while it is the newest and has not expired."""
        pause = settings().lease_ttl.total_seconds() / 10
        while not self._stop.wait(pause):
            try:
                self.check()
                os.utime(self.folder / "lease.json")
            except (LeaseLostError, OSError):
                return


def read_lease(service: str) -> LeaseState | None:
    """The newest lease of *service*, or None when it never had one."""
    for epoch in sorted(_epochs(_folder(service)), reverse=True):
        path = _folder(service) / _name(epoch) / "lease.json"
        try:
            age = time.time() - path.stat().st_mtime
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return LeaseState(epoch, "", _age(path.parent), released=False)
        return LeaseState(epoch, content["release"], age, content["released"])
    return None


def take(service: str, release: str, *, over: bool = False) -> FileLease:
    """Take the service's next lease for *release*.

    Args:
        over: Take it even from a carrier of the same release that is alive: what the
            watcher does to take a release back.

    Raises:
        ConflictError: Somebody holds it, or took it in the same moment; not retried.
    """
    root = _folder(service)
    root.mkdir(parents=True, exist_ok=True)
    held = read_lease(service)
    if held and held.alive and not (over and held.release in (release, "")):
        msg = f"{service}: release {held.release!r} holds the lease, expected it to be free"
        raise ConflictError(msg)
    epoch = (held.epoch if held else 0) + 1
    folder = root / _name(epoch)
    try:
        folder.mkdir()
    except FileExistsError as error:
        msg = f"{service}: epoch {epoch} was taken in the same moment, expected it to be free"
        raise ConflictError(msg) from error
    if held and (root / _name(held.epoch)).exists():
        _carry_over(root / "current", folder)
    _write(folder, release, released=False)
    _point_to_newest(root)
    _prune(root, epoch)
    return FileLease(folder, epoch, release)


def _folder(service: str) -> Path:
    return settings().routes / service


def _name(epoch: int) -> str:
    return f"epoch-{epoch:06d}"


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _epochs(root: Path) -> list[int]:
    return [int(path.name.removeprefix("epoch-")) for path in root.glob("epoch-*")]


def _carry_over(source: Path, target: Path) -> None:
    """Copy the routes of the epoch before; they are replaced whole, so each copy is whole."""
    for path in source.glob("*.json"):
        if path.name != "lease.json":
            with suppress(FileNotFoundError):
                shutil.copy(path, target / path.name)


def _write(folder: Path, release: str, *, released: bool) -> None:
    temporary = folder / f".lease.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"release": release, "released": released}))
    temporary.replace(folder / "lease.json")


def _point_to_newest(root: Path) -> None:
    """Let ``current`` point to the newest epoch, whoever took it.

    Looking again after each move undoes what a taker does that froze in between.
    """
    pointed = -1
    while pointed != (newest := max(_epochs(root))):
        temporary = root / f".current.{os.getpid()}.{threading.get_ident()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(_name(newest))
        temporary.replace(root / "current")
        pointed = newest


def _prune(root: Path, newest: int) -> None:
    for epoch in _epochs(root):
        if epoch <= newest - KEPT_EPOCHS:
            shutil.rmtree(root / _name(epoch), ignore_errors=True)
