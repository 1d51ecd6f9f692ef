"""Users' requests as the proxy's access log has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SERVER_ERROR = 500


@dataclass(frozen=True)
class Request:
    """One line.

    Attributes:
        at: When it came, epoch seconds.
        slot: Where it was sent; empty for nowhere.
        kind: Empty for a drawn request, ``sent`` for a matched or pinned one, ``mirror`` for a copy.
        code: The status that the user got.
        version: Which version says it answered; empty when the proxy did.
    """

    at: float
    slot: str
    kind: str
    code: int
    version: str
    flags: str

    @property
    def failed(self) -> bool:
        """The user got a 5xx."""
        return self.code >= SERVER_ERROR


def requests_in(log: Path) -> list[Request]:
    """Every whole line of an access log."""
    whole = log.read_text().rpartition("\n")[0] if log.exists() else ""
    return [_request(json.loads(line)) for line in whole.splitlines()]


def _request(line: dict[str, str]) -> Request:
    _, slot, kind = (*(line["cluster"] or "").split("/"), "", "")[:3]
    return Request(float(line["at"]), slot, kind, int(line["code"]), line["version"] or "", line["flags"])
