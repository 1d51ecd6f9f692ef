"""How long a kubelet waits before it tries again."""

from __future__ import annotations

from dataclasses import dataclass, field

_FIRST_BACK_OFF, _LONGEST_BACK_OFF, _FORGETS_AFTER = 10, 300, 600
"""Seconds of a kubelet, before they are divided."""


@dataclass
class BackOff:
    """The pauses before restarts: none, then 10 s, twice as long each time, up to 5 minutes."""

    _next: float = field(default=0)

    def after(self, seconds: float) -> float:
        """The pause after a run of so many seconds; one of 10 minutes makes up for all before."""
        pause = 0 if seconds >= _FORGETS_AFTER else self._next
        self._next = min(max(pause * 2, _FIRST_BACK_OFF), _LONGEST_BACK_OFF)
        return pause
