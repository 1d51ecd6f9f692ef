"""Router: what splits a service's live requests between its revisions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol

from tasks.domain.model import Address, Change, Lease, Slot, Split, Traffic


class Router(Protocol):
    """Splits one service's requests. Writes are absolute, carry the lease, and can be repeated."""

    @property
    def asks_proxies(self) -> bool:
        """Whether `write` returns once the proxies themselves say that they serve it.

        Where it does not, only the requests that are counted can show that they do.
        """
        ...

    def check(self) -> None:
        """Find what would keep the service from being registered; touches nothing.

        Raises:
            InputError: A port is in use, or the service file asks for what the router cannot do; not retried.
            TransientError: The proxy does not answer; retried.
        """
        ...

    def changes(self) -> tuple[Change, ...]:
        """What a release would make and change, for people to read; touches nothing.

        Raises:
            TransientError: The router does not answer; retried.
            PermanentError: It would be refused; not retried.
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

    def write(self, traffic: Traffic, lease: Lease) -> Split:
        """Ask for *traffic*; return once it is set.

        Returns:
            The split that is served: the one asked for, or the nearest that the router can give.

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

    def give_back(self, lease: Lease) -> bool:
        """The release is over: leave the user's own objects as they were, but for who has all requests.

        Changes nothing where there is nothing to give back.

        Returns:
            Whether everything is given back; not while requests are split, or while pods still run
            that would get some by it.

        Raises:
            TransientError: The router does not answer, or others write its objects; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        ...

    def preview_url(self) -> str | None:
        """Where the preview can be asked from here; None where only the replicas can be."""
        ...

    def published(self, slot: Slot) -> tuple[Address, ...]:
        """Where *slot*'s replicas are, as last published; sorted."""
        ...

    def drain(self, slot: Slot, within: timedelta) -> bool:
        """Wait until no request is in flight on *slot*; False when time is up first."""
        ...
