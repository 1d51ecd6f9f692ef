"""The image's Dockerfile, read: it can't be built where there is no container engine."""

from __future__ import annotations

import re
from email.parser import HeaderParser
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.infra.test_kubernetes import DAVYS, FOLDER, found, name_of, pod_of
from tests.rig.stack import ROOT

Step = tuple[str, str]


def steps() -> list[Step]:
    """Each instruction of the Dockerfile, and what it is told."""
    lines = [line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2]) for line in whole.splitlines() if line]


def told(instruction: str) -> list[str]:
    """What every such instruction is told."""
    return [rest for name, rest in steps() if name == instruction]


def copied() -> list[tuple[str, str]]:
    """Each source and where it goes, both from the root of the project."""
    found_there = []
    for rest in told("COPY"):
        *sources, target = rest.split()
        found_there += [(one, f"{target}{one}" if target.endswith("/") else target) for one in sources]
    return found_there


def test_what_is_copied_exists_and_keeps_its_place() -> None:
    for source, target in copied():
        assert (ROOT / source).exists()
        assert Path(target) == Path(source)


@pytest.mark.parametrize(
    "needed",
    ["flows", "tasks", "deployments", "pyproject.toml", "README.md", "LICENSE", "infra/constraints.txt"],
)
def test_what_is_installed_from_is_copied_before(needed: str) -> None:
    before = steps()[: [rest.startswith("pip install") for _, rest in steps()].index(True)]
    assert any(name == "COPY" and needed in rest.split() for name, rest in before)


def test_versions_are_pinned() -> None:
    (install,) = [rest for rest in told("RUN") if "pip install" in rest]
    assert "--constraint infra/constraints.txt" in install
    assert "--requirement infra/kubernetes/requirements.txt" in install
    extra = [one for one in (FOLDER / "requirements.txt").read_text().splitlines() if one[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9.a-z]*", one) for one in extra)
    pinned = (ROOT / "infra" / "constraints.txt").read_text().lower().replace("_", "-")
    names = [one.partition("==")[0].lower().replace("_", "-") for one in extra]
    assert not [name for name in names if re.search(rf"^{re.escape(name)}==", pinned, re.MULTILINE)]


def test_it_runs_as_the_user_that_pods_run_as() -> None:
    assert told("USER") == ["10001:10001"]
    assert [name for name, _ in steps()][-2:] == ["USER", "CMD"]
    for workload in DAVYS:
        own = pod_of(workload)["securityContext"]
        expected = 999 if name_of(workload) == "StatefulSet/prefect-postgres" else 10001
        assert (own["runAsUser"], own["runAsGroup"]) == (expected, expected)


def test_its_environment_is_that_of_the_pods() -> None:
    said = dict(re.findall(r"(\w+)=(\S+)", told("ENV")[0]))
    data = found("ConfigMap")["davy-settings"]["data"]
    for name in said.keys() & data.keys():
        assert said[name] == data[name]
    assert said["HOME"] == "/tmp"


def test_its_python_is_one_that_the_project_takes() -> None:
    assert told("FROM") == ["python:3.11-slim"]
    for one in distributions():
        metadata = HeaderParser().parsestr(one.read_text("METADATA") or "")
        if metadata["Name"] == "davy":
            assert metadata["Requires-Python"] == ">=3.11"
