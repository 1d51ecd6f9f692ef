"""A published version runs from an environment of its own; replicas that start together share it."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 120


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with two published versions of ``greeter``, whose program ``greet`` says which it is."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        publish(folder, version)
    return folder


def publish(folder: Path, version: str) -> None:
    """Write a wheel by hand: no build tool is needed for four files."""
    information = f"greeter-{version}.dist-info"
    files = {
        "greeter.py": f"import sys\ndef main():\n    print('greeter {version}', *sys.argv[1:])\n",
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: greeter\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/entry_points.txt": "[console_scripts]\ngreet = greeter:main\n",
    }
    rows = [f"{name},sha256={digest(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{information}/RECORD"] = "".join([*rows, f"{information}/RECORD,,\n"])
    with zipfile.ZipFile(folder / f"greeter-{version}-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)


def digest(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


def begin(shelf: Path, home: Path, *words: str) -> subprocess.Popen[str]:
    """Start the launcher; its pip knows the shelf only."""
    return subprocess.Popen(
        [sys.executable, ROOT / "infra" / "local" / "pypi_run.py", *words],
        env={**os.environ, "DAVY_HOME": str(home), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_replicas_of_two_versions_start_together(shelf: Path, home: Path) -> None:
    words = [
        ("greeter==1.0", "greet", "--port", "1"),
        ("greeter==2.0", "greet", "a b"),
        ("greeter==1.0", "greet"),
    ]
    started = [begin(shelf, home, *each) for each in words]
    outputs = [process.communicate(timeout=DEADLINE)[0] for process in started]
    assert outputs == ["greeter 1.0 --port 1\n", "greeter 2.0 a b\n", "greeter 1.0\n"]


def test_an_installed_version_needs_no_index_again(shelf: Path, home: Path) -> None:
    begin(shelf, home, "greeter==1.0", "greet").communicate(timeout=DEADLINE)
    for wheel in shelf.iterdir():
        wheel.unlink()
    assert begin(shelf, home, "greeter==1.0", "greet").communicate(timeout=DEADLINE)[0] == "greeter 1.0\n"


def test_what_failed_to_install_is_tried_again(shelf: Path, home: Path) -> None:
    missing = begin(shelf, home, "greeter==3.0", "greet")
    _, said = missing.communicate(timeout=DEADLINE)
    assert missing.returncode == 1
    assert "greeter==3.0: installing ended with 1, expected 0" in said
    publish(shelf, "3.0")
    assert begin(shelf, home, "greeter==3.0", "greet").communicate(timeout=DEADLINE)[0] == "greeter 3.0\n"


@pytest.mark.parametrize(
    "requirement", ["greeter", "greeter>=1.0", "--help==1", "../greeter==1.0", "greeter==1.0 x"]
)
def test_only_an_exact_version_is_taken(shelf: Path, home: Path, requirement: str) -> None:
    refused = begin(shelf, home, "--", requirement, "greet")
    _, said = refused.communicate(timeout=DEADLINE)
    assert refused.returncode == 2
    assert "expected PACKAGE==VERSION" in said
    assert not (home / "packages").exists()


def test_an_unknown_program_is_answered_with_the_known_ones(shelf: Path, home: Path) -> None:
    process = begin(shelf, home, "greeter==1.0", "shout")
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "program: found 'shout', expected one of" in said
    assert "greet" in said
