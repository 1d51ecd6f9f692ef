"""The addresses of the rig's pods: 10.244.x.y on paper, 127.244.x.y on this machine.

Kubernetes takes no loopback address for a pod's, and nothing may ever be sent to the addresses that it
takes: the API server reaches pods through `egress`, and everything else by `local_address`.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Self

PODS = IPv4Network("10.244.0.0/16")
LOOPBACK = IPv4Network("127.244.0.0/16")
_CLAIM = 31_999
"""The port that shows on 127.244.x.254 that a kubelet has the addresses of x."""
_EACH = 250
"""How many pods a kubelet has addresses for."""


def local_address(address: str) -> str:
    """Where the process of the pod with this address listens.

    Raises:
        ValueError: No pod of the rig has such an address; not retried.
    """
    offset = int(IPv4Address(address)) - int(PODS.network_address)
    if IPv4Address(address) not in PODS:
        message = f"address {address}: expected one of {PODS}"
        raise ValueError(message)
    return str(LOOPBACK[offset])


class Addresses:
    """Pod addresses that no other kubelet on this machine gives out; the one freed longest ago comes first."""

    def __init__(self) -> None:
        self._claim = socket.socket()
        self._free: deque[str] = deque()

    def __enter__(self) -> Self:
        for x in range(1, 255):
            with suppress(OSError):
                self._claim.bind((f"127.244.{x}.254", _CLAIM))
                self._free.extend(f"10.244.{x}.{y}" for y in range(1, _EACH + 1))
                return self
        self._claim.close()
        message = f"{LOOPBACK}: every block of addresses is taken, expected a free one"
        raise OSError(message)

    def __exit__(self, *_: object) -> None:
        self._claim.close()

    def take(self) -> str:
        """An address of a new pod's own."""
        return self._free.popleft()

    def give_back(self, address: str) -> None:
        """Its pod is gone."""
        self._free.append(address)
