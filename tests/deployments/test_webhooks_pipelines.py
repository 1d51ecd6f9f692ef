"""The steps that pipelines run, which call Prefect's API themselves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.webhook_servers import SHA, Prefect, serving

MERGES = Path(__file__).parents[2] / "infra" / "merges"


def step(name: str) -> tuple[str, str, dict[str, str]]:
    """The shell that a pipeline uses, its script, and the variables that its file sets."""
    content: dict[str, Any] = yaml.safe_load((MERGES / f"{name}.yaml").read_text())
    if name == "gitlab-ci":
        job = content["release"]
        return "sh", job["script"][0], job["variables"] | {"CI_COMMIT_SHA": SHA}
    job = content["jobs"]["release"]
    variables = {name: value for name, value in job["env"].items() if "${{" not in value}
    return "bash", job["steps"][0]["run"], variables | {"GITHUB_SHA": SHA}


def run(name: str, prefect: Prefect) -> subprocess.CompletedProcess[str]:
    shell, script, variables = step(name)
    api = f"http://127.0.0.1:{prefect.server_port}/api"
    environment = {
        "PATH": os.environ["PATH"],
        "PREFECT_API_URL": api,
        "PREFECT_API_AUTH_STRING": "davy:a password",
    }
    return subprocess.run(
        [shell, "-c", script],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["github-actions", "gitlab-ci"])
def test_a_step_starts_the_services_deployment_once(name: str) -> None:
    prefect = Prefect(0)
    prefect.deployments = {"canary/shop"}
    with serving(prefect):
        first, again = run(name, prefect), run(name, prefect)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == again.stdout == f"flow run run-of-merge-shop-{SHA}\n"
    assert prefect.runs == {f"merge-shop-{SHA}": {"version": SHA}}


@pytest.mark.parametrize("name", ["github-actions", "gitlab-ci"])
def test_a_step_fails_where_there_is_no_such_deployment(name: str) -> None:
    prefect = Prefect(0)
    with serving(prefect):
        failed = run(name, prefect)
    assert failed.returncode != 0
    assert "404" in failed.stderr
    assert not prefect.runs
