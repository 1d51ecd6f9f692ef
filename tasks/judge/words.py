"""How judges write figures."""

from __future__ import annotations

UNITS = {
    "error_rate": " %",
    "request_rate": " /s",
    "latency_p50": " ms",
    "latency_p90": " ms",
    "latency_p95": " ms",
    "latency_p99": " ms",
    "restarts": "",
}
"""The metrics that can be judged, with their units as reasons write them."""


def number(value: float) -> str:
    """A figure as reasons write it: five digits."""
    return f"{value:.5g}" if abs(value) < 1e5 else f"{value:.0f}"  # noqa: PLR2004 - what %g writes in full
