"""`davy report`: one release as a page in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.domain.errors import InputError
from tasks.journal import all_journals
from tasks.record import Record
from tasks.report.page import page_of
from tasks.report.story import Story, story_of
from tasks.turns import recent


@dataclass(frozen=True, eq=False)
class Report:
    """A report that was written."""

    story: Story
    file: Path

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.story.to_json(), "file": str(self.file)}


def write_report(name: str, output: Path | None) -> Report:
    """Write the report of a release, or of a service's newest one.

    Args:
        name: The release's id, or the service's name.
        output: None for ``report-RELEASE.html`` in the current folder.

    Raises:
        InputError: There is no such release or service, or the file can't be written; not retried.
        JournalError: The release's journal was tampered with; not retried.
    """
    story = story_of(find(name))
    file = output or Path(f"report-{story.release}.html")
    try:
        file.write_text(page_of(story), encoding="utf-8")
    except OSError as error:
        raise InputError("output", str(file), f"a file that can be written ({error.strerror})") from error
    return Report(story, file)


def find(name: str) -> Record:
    """The record of a release, or of a service's newest one.

    Raises:
        InputError: There is none; not retried.
    """
    journals = {journal.release: journal for journal in all_journals()}
    if name in journals and journals[name].exists():
        return Record.read(journals[name])
    services = {journal.path.parent.name for journal in journals.values()}
    if name in services and (records := recent(name)):
        return records[0]
    known = f": {', '.join(sorted(services))}" if services else ", and none was released here yet"
    raise InputError("release", name, f"a release's id or a service's name{known}")
