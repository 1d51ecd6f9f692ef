"""A version from a file's first line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.domain.errors import GoneError, PermanentError
from tasks.domain.versions import FileVersions
from tasks.versions import Found, open_versions


def test_the_first_line_is_the_version(tmp_path: Path) -> None:
    file = tmp_path / "VERSION"
    file.write_text("1.4.2 \nbuilt by somebody\n")
    assert open_versions(FileVersions(path=str(file))).newest("1.4.1") == Found("1.4.2")


@pytest.mark.parametrize(
    "content", [b"", b"\n1.0\n", b"two words\n", b"1.0\x00\n", b"\xff\xfe\n", b"1" * 300]
)
def test_a_first_line_that_is_no_version_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "VERSION"
    file.write_bytes(content)
    with pytest.raises(PermanentError, match=f"{file}: found .*version"):
        open_versions(FileVersions(path=str(file))).newest("")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GoneError, match="found no such file"):
        open_versions(FileVersions(path=str(tmp_path / "VERSION"))).newest("")
    with pytest.raises(PermanentError, match="cannot be read"):
        open_versions(FileVersions(path=str(tmp_path))).newest("")
