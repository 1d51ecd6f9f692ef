"""New versions among the tags of a real Git repository."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.domain.errors import ForbiddenError, GoneError, PermanentError, TransientError
from tasks.domain.versions import GitVersions
from tasks.versions import Found, open_versions
from tasks.versions.git import _refusal


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=davy", "-c", "user.email=davy@example.com"]
    answer = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for tag in ("v1.9.0", "v1.10.0", "v2.0.0-rc.1", "docs-7"):
        git(folder, "commit", "--quiet", "--allow-empty", "--message", tag)
        git(folder, "tag", tag)
    return folder


def find(repository: Path | str, stable: str = "", **how: object) -> Found | None:
    address = f"file://{repository}" if isinstance(repository, Path) else repository
    return open_versions(GitVersions.model_validate({"repository": address, **how})).newest(stable)


def test_the_newest_is_the_highest_version_with_its_commit(repository: Path) -> None:
    commits = {tag: git(repository, "rev-parse", tag) for tag in ("v1.9.0", "v1.10.0")}
    assert find(repository, "v1.9.0") == Found("v1.10.0", commits["v1.10.0"], commits["v1.9.0"])
    found = find(repository, prereleases=True)
    assert found
    assert found.version == "v2.0.0-rc.1"


def test_an_annotated_tag_stands_for_its_commit(repository: Path) -> None:
    git(repository, "tag", "--annotate", "v1.11.0", "--message", "signed off")
    assert find(repository) == Found("v1.11.0", git(repository, "rev-parse", "HEAD"))


def test_a_second_tag_of_the_same_commit_is_nothing_new(repository: Path) -> None:
    git(repository, "tag", "v1.10.1", "v1.10.0")
    found = find(repository, "v1.10.0")
    assert found
    assert found.version == "v1.10.1"
    assert found.is_("v1.10.0")


def test_a_pattern_that_no_tag_matches_finds_nothing(repository: Path) -> None:
    assert find(repository, pattern=r"release-.*") is None


def test_a_repository_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GoneError, match=f"file://{tmp_path}/gone: found .*, expected its tags"):
        find(tmp_path / "gone")


def test_a_server_that_is_away_may_be_asked_again(free_port: Callable[[], int]) -> None:
    with pytest.raises(TransientError, match="expected its tags"):
        find(f"git://127.0.0.1:{free_port()}/shop.git")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("fatal: could not read Username for 'https://x': terminal prompts disabled", ForbiddenError),
        ("fatal: Authentication failed for 'https://x/'", ForbiddenError),
        ("git@x: Permission denied (publickey).", ForbiddenError),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", GoneError),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", TransientError),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 503", TransientError),
        ("fatal: the remote end hung up unexpectedly", TransientError),
        ("fatal: transport 'ext' not allowed", PermanentError),
    ],
)
def test_what_git_says_decides_whether_it_is_asked_again(said: str, kind: type[Exception]) -> None:
    assert type(_refusal("https://x/", said)) is kind


def test_without_git_that_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PermanentError, match="found no program git on PATH"):
        find(repository)
