"""How the Services of one service are called. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.domain.model import Slot


@dataclass(frozen=True)
class ServiceNames:
    """The names of a service's Services, and back from a name to its slot.

    Attributes:
        users: The Service that users know.
    """

    namespace: str
    users: str

    def of(self, slot: Slot) -> str:
        """The Service of one slot."""
        return f"{self.users}-{slot}"

    def slot_of(self, host: str, namespace: str | None = None) -> Slot | None:
        """The slot whose Service *host* names, in any of its forms; None for any other host.

        Args:
            namespace: Where a short name counts from; the service's own where it is left out.
        """
        name = self._local(host, namespace)
        return next((slot for slot in Slot if name == self.of(slot)), None)

    def is_users(self, host: str, namespace: str | None = None) -> bool:
        """Whether *host* names the Service that users know, in any of its forms."""
        return self._local(host, namespace) == self.users

    def _local(self, host: str, namespace: str | None) -> str | None:
        """The Service's name, where it is one of this namespace."""
        name, _, rest = host.partition(".")
        where, _, domain = rest.partition(".")
        within = domain in ("", "svc") or domain.startswith("svc.")  # a cluster may have a domain of its own
        return name if within and (where or namespace or self.namespace) == self.namespace else None
