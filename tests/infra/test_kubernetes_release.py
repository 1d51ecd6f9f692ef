"""The script that starts a release in the cluster, with a `kubectl` that runs here what it would run in a pod."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.service_files import load
from tasks.domain.spec import service_adapter
from tests.infra.test_kubernetes import FOLDER, SERVICES
from tests.rig.stack import ROOT


@pytest.fixture
def in_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `prefect` was told, when ``kubectl exec`` runs here what it would run in a pod."""
    told = tmp_path / "told"
    scripts = {
        "kubectl": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
        "prefect": f'printf "%s\\n" "$@" >{told}',
        "python": f'exec {sys.executable} "$@"',
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return told


def test_a_release_is_started_with_what_the_service_file_says(in_the_pod: Path) -> None:
    path = SERVICES[1]
    command = [str(FOLDER / "release"), str(path), "1.10"]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    *words, parameters = in_the_pod.read_text().splitlines()
    assert words == ["deployment", "run", "canary/davy", "--params"]
    said = json.loads(parameters)
    assert said["version"] == "1.10"
    assert service_adapter.validate_python(said["service"]) == load(path)


def test_a_bad_service_file_starts_nothing(in_the_pod: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("service: shop\nstrategy: canari\n")
    command = [str(FOLDER / "release"), str(tmp_path / "bad.yaml"), "1.1"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "found 'canari', expected one of rolling" in done.stderr
    assert not in_the_pod.exists()
