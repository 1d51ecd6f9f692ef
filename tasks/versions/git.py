"""Version source: the tags of a Git repository, asked for by `git` itself."""

from __future__ import annotations

import os
import re
import subprocess

from tasks.domain.errors import ForbiddenError, GoneError, PermanentError, TransientError
from tasks.domain.units import format_duration
from tasks.domain.versions import GitVersions
from tasks.versions.base import Found
from tasks.versions.order import matching, newest

_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|access denied"
    r"|terminal prompts disabled|error: 40[13]",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"not found|does not exist|does not appear to be a git repository|no such file|error: 404", re.IGNORECASE
)
_LATER = re.compile(
    r"could not resolve|couldn't connect|failed to connect|connection|timed out|early eof|hung up"
    r"|error: (429|5\d\d)|unable to access",
    re.IGNORECASE,
)
_USER = re.compile(r"//[^@/\s']*@")
_PEELED = "^{}"
"""Behind the name of an annotated tag: the commit that it stands for."""


class Repository:
    """Reads one repository's tags; nothing is cloned."""

    def __init__(self, versions: GitVersions) -> None:
        self._versions = versions

    def newest(self, stable: str) -> Found | None:
        """The highest version among its tags; see `tasks.versions.base.VersionSource.newest`.

        Raises:
            TransientError: It does not answer in time; retried.
            GoneError: There is no such repository; not retried.
            ForbiddenError: It refuses; not retried.
            PermanentError: `git` is missing, or says something else; not retried.
        """
        commits = self._tags()
        tag = newest(matching(commits, self._versions.pattern), prereleases=self._versions.prereleases)
        return Found(tag.name, commits[tag.name], commits.get(stable, "")) if tag else None

    def _tags(self) -> dict[str, str]:
        """The commit of each tag, by the tag's name."""
        commits: dict[str, str] = {}
        for line in self._ask().splitlines():
            commit, _, name = line.partition("\trefs/tags/")
            if name.endswith(_PEELED) or name not in commits:
                commits[name.removesuffix(_PEELED)] = commit
        return commits

    def _ask(self) -> str:
        repository = self._versions.repository
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C"}
        ssh = {"GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}
        try:
            answer = subprocess.run(  # noqa: S603 - the address is checked by its model, and no option
                ["git", "ls-remote", "--tags", "--", repository],  # noqa: S607 - whichever git is there
                capture_output=True,
                check=False,
                env={**os.environ, **quiet, **ssh},
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=self._versions.timeout.total_seconds(),
            )
        except subprocess.TimeoutExpired as error:
            msg = (
                f"{repository}: no answer within {format_duration(self._versions.timeout)}, expected its tags"
            )
            raise TransientError(msg) from error
        except FileNotFoundError as error:
            msg = f"{repository}: found no program git on PATH, expected it to ask for tags"
            raise PermanentError(msg) from error
        if answer.returncode:
            raise _refusal(repository, answer.stderr)
        return answer.stdout


def _refusal(repository: str, said: str) -> PermanentError | TransientError:
    """What `git` has said, as an error of ours.

    Not shown: what the other side said, and who `git` was at an address, as its own configuration may say.
    """
    own = (line for line in said.splitlines() if not line.startswith("remote:"))
    words = _USER.sub("//", " ".join(" ".join(own).split()))[:200]
    msg = f"{repository}: found {words!r}, expected its tags"
    if _REFUSED.search(said):
        return ForbiddenError(msg)
    if _GONE.search(said):
        return GoneError(msg)
    return TransientError(msg) if _LATER.search(said) else PermanentError(msg)
