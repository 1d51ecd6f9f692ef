"""What a backtest reads: a canary config, service files, metric pairs; and the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml
from typer.testing import CliRunner, Result

from deployments.cli import app
from tests.rig.fakes import make_service

POINTS = 40


def davy(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def config_file(folder: Path) -> Path:
    """A canary config of two metrics that Davy records by itself."""
    metrics = [
        {
            "name": name,
            "query": {"type": "prometheus", "metricName": name},
            "groups": ["all"],
            "analysisConfigurations": {"canary": {"direction": "increase"}},
            "scopeName": "default",
        }
        for name in ("latency_p99", "error_rate")
    ]
    content = {
        "name": "shop",
        "configVersion": "1.0",
        "applications": ["shop"],
        "judge": {"name": "NetflixACAJudge-v1.0", "judgeConfigurations": {}},
        "metrics": metrics,
        "classifier": {"groupWeights": {"all": 100}},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def service_file(folder: Path, metric: str, highest: float) -> Path:
    """A service file with one limit."""
    content = make_service("canary", analysis={"limits": {metric: {"max": highest}}})
    path = folder / f"{metric}-{highest}.yaml"
    path.write_text(yaml.safe_dump(content.model_dump(mode="json", exclude_none=True)))
    return path


def pairs(seed: int, *, worse_from: int = POINTS) -> list[dict[str, object]]:
    """A latency of about 100 ms; 50 ms more in the experiment from a point on."""
    draw = np.random.default_rng(seed)
    control, experiment = draw.normal(100, 5, POINTS), draw.normal(100, 5, POINTS)
    experiment[worse_from:] += 50
    values = {"control": [None, *control[1:]], "experiment": list(experiment)}
    return [{"name": "latency_p99", "tags": {}, "values": values}]
