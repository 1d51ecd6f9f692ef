"""Before and after the new version takes all traffic: preview, hooks, what is retired."""

from __future__ import annotations

import os
import shlex
import subprocess
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx

from tasks.domain.errors import PermanentError, UnhealthyError
from tasks.domain.model import Revision
from tasks.domain.parts import Preview
from tasks.release import Carrier, Release
from tasks.step import step

TAIL = 400
"""How many characters of a failing hook's output go into the message."""


@step("preview-{revision.slot}")
def check_preview(release: Release, revision: Revision, preview: Preview) -> None:
    """Ask *revision*, where users don't reach it, what the service file says.

    Each replica is asked, and the preview port where the service file has one.

    Raises:
        UnhealthyError: An answer is not the one expected; not retried.
    """
    carrier = Carrier.of(release)
    replicas = [replica for replica in carrier.fleet.observe() if replica.revision == revision]
    ways = [partial(carrier.fleet.answer, replica, preview.path, preview.timeout) for replica in replicas]
    if url := carrier.router.preview_url():
        ways.append(partial(_answer, f"{url}{preview.path}", preview.timeout))
    for ask in ways:
        for _ in range(preview.requests):
            found = ask()
            if found != str(preview.status):
                msg = f"{revision}: preview {preview.path} answered {found}, expected {preview.status}"
                raise UnhealthyError(msg)


@step("hooks-{when}")
def run_hooks(release: Release, when: str) -> None:
    """Run the service file's commands for ``before`` or ``after``.

    Raises:
        PermanentError: One exits with another code than 0, or takes too long; not retried.
    """
    hooks = release.service.hooks
    facts = {
        "DAVY_SERVICE": release.name,
        "DAVY_VERSION": release.version,
        "DAVY_STABLE": release.stable.version if release.stable else "",
        "DAVY_RELEASE": release.id,
    }
    for command in hooks.before if when == "before" else hooks.after:
        _run(command, facts, hooks.timeout)


@step("retire-{revision.slot}")
def retire(release: Release, revision: Revision) -> None:
    """Retire *revision* now. Nothing there is no error.

    Raises:
        TransientError: Fleet or router do not answer; retried.
    """
    Carrier.of(release).remove(revision)


@step("retire-{revision.slot}-later")
def retire_later(release: Release, revision: Revision, delay: timedelta) -> None:
    """Leave *revision* running for *delay*, so that going back is one switch; then it is retired."""
    Carrier.of(release).retire_at(revision, datetime.now(UTC) + delay)


def _answer(url: str, timeout: timedelta) -> str:
    try:
        return str(httpx.get(url, timeout=timeout.total_seconds()).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


def _run(command: str, facts: dict[str, str], timeout: timedelta) -> None:
    """Run one hook without a shell.

    Raises:
        PermanentError: It fails, does not exist or takes too long; not retried.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the service file's own command
            shlex.split(command),
            env=os.environ | facts,
            capture_output=True,
            text=True,
            timeout=timeout.total_seconds(),
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        msg = f"hook {command!r}: {error}, expected it to run"
        raise PermanentError(msg) from error
    if done.returncode:
        msg = f"hook {command!r}: exit code {done.returncode}, expected 0: {(done.stdout + done.stderr)[-TAIL:]}"
        raise PermanentError(msg)
