"""Router: what splits a service's live requests between its revisions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

from tasks.domain.model import Address, Lease, Slot, Split, Traffic


class Router(Protocol):
    """Splits one service's requests. Writes are absolute, carry the lease, and can be repeated."""

    def check(self) -> None:
        """Find what would keep the service from being registered; touches nothing.

        Raises:
            InputError: A port is in use; not retried.
            TransientError: The proxy does not answer; retried.
        """
        ...

    def register(self, lease: Lease) -> None:
        """Make the service known to the proxy: listeners and one cluster per slot.

        Nothing changes where it is known already with the same settings.

        Raises:
            TransientError: The proxy does not answer, or did not take it up yet; retried.
            PermanentError: The proxy refuses it (a port in use, say); not retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        ...

    def live(self) -> Split | None:
        """The split that the data plane serves now; None before the service's first one.

        Raises:
            TransientError: The proxy does not answer; retried.
        """
        ...

    def write(self, traffic: Traffic, lease: Lease) -> None:
        """Ask for *traffic*; return once the data plane serves exactly that.

        Raises:
            TransientError: Asked for but not served yet; retried.
            PermanentError: The proxy refuses it; not retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        ...

    def publish(self, slot: Slot, addresses: Collection[Address], lease: Lease) -> None:
        """Say where *slot*'s replicas are: exactly these. Return once the data plane knows.

        Routers that find replicas by themselves do nothing.

        Raises:
            TransientError: The proxy does not answer, or does not know them yet; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        ...

    def published(self, slot: Slot) -> tuple[Address, ...]:
        """Where *slot*'s replicas are, as last published; sorted."""
        ...

    def drain(self, slot: Slot, within: timedelta) -> bool:
        """Wait until no request is in flight on *slot*; False when time is up first."""
        ...
