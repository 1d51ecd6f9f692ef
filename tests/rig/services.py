"""Service files of the demo shop, with bakes of seconds, and the steps that they promise."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.stack import ROOT

Content = dict[str, Any]

LIMITS: Content = {"error_rate": {"max": 1, "min_requests": 10}, "restarts": {"max": 0}}
SWITCHING: Content = {"watch": "3s", "scale_down_delay": "3s"}
PREVIEW: Content = {"preview": {"path": "/products", "requests": 2}}
STRATEGIES: dict[str, Content] = {
    "rolling": {"replicas": 3, "max_surge": 1, "max_unavailable": 0, "bake": "3s"},
    "blue-green": SWITCHING | PREVIEW,
    "canary": SWITCHING | {"steps": [{"share": 20, "bake": "4s"}, {"share": 50, "bake": "3s"}]},
    "blue-green-canary": SWITCHING | PREVIEW | {"trickle": {"share": 20, "bake": "4s"}},
}


def shop(name: str, *, strategy: str, port: int, home: Path, ready: str = "40s", **own: Any) -> Content:  # noqa: ANN401
    """A service file's content.

    Args:
        ready: How long a replica may take to be healthy.
        own: Keys of the service file that are other than usual.
    """
    program = f"{sys.executable} {ROOT / 'infra' / 'local' / 'shop.py'}"
    database = home.parent / f"{name}.sqlite"
    return {
        "service": name,
        "strategy": strategy,
        "replicas": 2,
        "fleet": {
            "command": f"{program} --port {{port}} --version {{version}} --database {database}",
            "directory": str(ROOT),
            "health": {"path": "/health", "interval": "500ms", "ready_within": ready},
        },
        "router": {"port": port, "access_log": True},
        "analysis": {"interval": "500ms", "limits": LIMITS},
        "abort_scale_down_delay": "2s",
        **STRATEGIES[strategy],
        **own,
    }


@dataclass(frozen=True)
class Promise:
    """A share that the new version may have, in basis points, and the seconds it is held."""

    share: int
    seconds: float


def promises(content: Content) -> list[Promise]:
    """The steps of a service file, in order."""
    match content["strategy"]:
        case "rolling":
            return _batches(content)
        case "canary":
            steps = [Promise(step["share"] * 100, _seconds(step["bake"])) for step in content["steps"]]
        case "blue-green-canary":
            steps = [Promise(content["trickle"]["share"] * 100, _seconds(content["trickle"]["bake"]))]
        case _:
            steps = []
    last = Promise(10_000, _seconds(content["watch"])) if content.get("promote", True) else Promise(0, 0)
    return [*steps, last]


def _batches(content: Content) -> list[Promise]:
    """A rolling release's shares: in between, those that the replicas that stay can carry."""
    size, bake = content["replicas"], _seconds(content["bake"])
    surge, unavailable = int(content["max_surge"]), int(content["max_unavailable"])
    found: list[Promise] = []
    new = 0
    while new < size:
        stay = max(0, size - new - unavailable)
        between = 10_000 * new // (new + stay)
        if found and between > found[-1].share:
            found.append(Promise(between, 0))
        new = min(size, size + surge - stay)
        found.append(Promise(10_000 * new // size, bake))
    return found


def capacity(content: Content) -> int:
    """Healthy replicas that the strategy promises at any time."""
    kept: int = content["replicas"] - int(content.get("max_unavailable", 0))
    return kept


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
