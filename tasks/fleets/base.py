"""Fleet: what runs a service's revisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from tasks.domain.model import Change, Lease, Replica, Revision


class Fleet(Protocol):
    """Runs one service's revisions. Every verb can be repeated; nothing here moves traffic."""

    def check(self, version: str) -> None:
        """Find what would keep *version* from being deployed; touches nothing.

        Raises:
            InputError: A field of the service file is wrong; not retried.
        """
        ...

    def changes(self, revision: Revision, replicas: int) -> tuple[Change, ...]:
        """What `deploy` would make and change, for people to read; touches nothing.

        Raises:
            TransientError: The fleet does not answer; retried.
            PermanentError: It would be refused; not retried.
        """
        ...

    def observe(self) -> tuple[Replica, ...]:
        """Every replica of the service that exists now, its health asked now.

        Sorted by slot, version and number. Empty when nothing runs.

        Raises:
            TransientError: The fleet does not answer; retried.
        """
        ...

    def deploy(self, revision: Revision, replicas: int, lease: Lease) -> None:
        """Converge *revision* to exactly *replicas* copies; does not wait for their health.

        Missing copies are started, copies beyond the number (highest number first) are
        stopped gracefully. Copies of other versions in the same slot are left alone.

        Raises:
            TransientError: The fleet does not answer; retried.
            PermanentError: The command does not exist or cannot run; not retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        ...

    def wait_healthy(self, revision: Revision, replicas: int, within: timedelta) -> None:
        """Return once *replicas* copies of *revision* are healthy.

        Raises:
            UnhealthyError: Not in time, or its process keeps ending (said as soon as it is
                seen, with the last lines of its log); not retried.
        """
        ...

    def answer(self, replica: Replica, path: str, within: timedelta) -> str:
        """The HTTP status with which *replica* answers ``GET path``, where users don't reach it.

        Returns:
            The status, or what went wrong in one word.
        """
        ...

    def retire(self, revision: Revision, lease: Lease) -> None:
        """Stop every copy of *revision* gracefully and forget it. Nothing there is no error.

        Returns once no process of it is left.

        Raises:
            TransientError: The fleet does not answer; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        ...
