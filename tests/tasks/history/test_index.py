"""The index: the journals' own answer, whatever became of the file, and whoever else is at it."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tasks.domain.errors import TransientError
from tasks.domain.model import Outcome
from tasks.history import Entry, Found, Index, entry_of
from tasks.journal import Journal
from tests.tasks.history.past import NOW, Past

EVER = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """An index over three releases of two services."""
    journals = tmp_path / "journal"
    Past(journals, "r1", ago=timedelta(days=40)).promoted()
    Past(journals, "r2", ago=timedelta(days=2), committed="2026-11-20T12:00:00.123456+00:00").promoted()
    Past(journals, "w1", service="wing").failed()
    return Index(tmp_path / "history.sqlite", journals)


def ids(found: Found) -> list[str]:
    return [entry.release for entry in found.entries]


def by_journals(index: Index) -> set[Entry]:
    """What the journals themselves say."""
    return {entry for path in index.journals.glob("*/*.jsonl") if (entry := entry_of(Journal(path)))}


def test_entries_come_back_as_the_journals_say_newest_first(index: Index) -> None:
    for _ in range(2):
        found = index.find(None, EVER)
        assert set(found.entries) == by_journals(index)
        assert ids(found) == ["w1", "r2", "r1"]
        assert (found.services, found.unreadable) == (("shop", "wing"), ())


def test_one_service_and_one_span(index: Index) -> None:
    assert ids(index.find("shop", EVER)) == ["r2", "r1"]
    assert ids(index.find(None, NOW - timedelta(days=30))) == ["w1", "r2"]
    nobody = index.find("nobody", EVER)
    assert (nobody.entries, nobody.services) == ((), ("shop", "wing"))


def test_a_release_that_runs_is_of_any_span(index: Index) -> None:
    Past(index.journals, "r0", ago=timedelta(days=90))
    assert "r0" in ids(index.find("shop", NOW))


def test_only_what_changed_is_read_again(index: Index) -> None:
    assert index.find(None, EVER).read == 3
    assert index.find(None, EVER).read == 0
    running = Past(index.journals, "r3")
    assert index.find(None, EVER).read == 1
    running.promoted()
    said: list[int] = []
    found = index.find(None, EVER, say=said.append)
    assert (found.read, said) == (1, [1])
    assert set(found.entries) == by_journals(index)


def test_a_journal_that_is_gone_is_gone(index: Index) -> None:
    index.find(None, EVER)
    (index.journals / "wing" / "w1.jsonl").unlink()
    found = index.find(None, EVER)
    assert (ids(found), found.services) == (["r2", "r1"], ("shop",))


def test_what_cannot_be_read_is_listed_and_stops_nothing(index: Index) -> None:
    bad = index.journals / "shop" / "r1.jsonl"
    bad.write_bytes(bad.read_bytes().replace(b"Promoted", b"Rejected"))
    (index.journals / "shop" / "torn.jsonl").write_bytes(b'{"at":')
    for _ in range(2):
        found = index.find(None, EVER)
        assert ids(found) == ["w1", "r2"]
        (one,) = found.unreadable
        assert (one.service, one.release) == ("shop", "r1")
        assert "it was changed" in one.trouble
    assert index.find("wing", EVER).unreadable == ()
    assert len(index.find("shop", NOW).unreadable) == 1, "its time is not known, so it is of any"


def test_whatever_a_line_says_can_be_kept(index: Index) -> None:
    odd_names: dict[str, Any] = {"version": {"not": "text"}}
    reason = "half a \ud83d character\n and \x00"
    Past(index.journals, "odd", **odd_names).failed(reason=reason, by="\udcff")
    for _ in range(2):
        odd = next(entry for entry in index.find(None, EVER).entries if entry.release == "odd")
        assert (odd.reason, odd.by, odd.version) == ("half a ? character and \x00", "?", "{'not': 'text'}")


def test_a_journal_that_may_not_be_read_is_listed_too(index: Index) -> None:
    (index.journals / "shop" / "folder.jsonl").mkdir()
    (one,) = index.find(None, EVER).unreadable
    assert one.release == "folder"


def test_a_journal_that_was_put_right_is_a_release_again(index: Index) -> None:
    path = index.journals / "shop" / "r1.jsonl"
    right = path.read_bytes()
    path.write_bytes(b"[]\n")
    assert len(index.find(None, EVER).unreadable) == 1
    path.write_bytes(right)
    found = index.find(None, EVER)
    assert (ids(found), found.unreadable) == (["w1", "r2", "r1"], ())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"this is no database" * 500),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
    ],
    ids=["gone", "empty", "another file", "broken pages"],
)
def test_a_broken_index_is_made_anew(index: Index, spoil: object) -> None:
    index.find(None, EVER)
    spoil(index.path)  # type: ignore[operator]  # one of the above
    assert set(index.find(None, EVER).entries) == by_journals(index)
    assert index.find(None, EVER).read == 0


@pytest.mark.parametrize("schema", [0, 99])
def test_an_index_of_another_schema_is_made_anew(index: Index, schema: int) -> None:
    with closing(sqlite3.connect(index.path)) as other:
        other.execute("CREATE TABLE journals (path TEXT, old TEXT)")
        other.execute("INSERT INTO journals VALUES ('shop/r1.jsonl', 'x')")
        other.execute(f"PRAGMA user_version = {schema}")
        other.commit()
    assert set(index.find(None, EVER).entries) == by_journals(index)


def test_a_rebuild_reads_everything_again(index: Index) -> None:
    index.find(None, EVER)
    path = index.journals / "shop" / "r1.jsonl"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Promoted", b"Rejected"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not index.find(None, EVER).unreadable, "neither size nor time have changed"
    found = index.find(None, EVER, rebuild=True)
    assert (found.read, len(found.unreadable)) == (3, 1)


def test_where_nothing_was_released_nothing_is_made(tmp_path: Path) -> None:
    index = Index(tmp_path / "davy" / "history.sqlite", tmp_path / "davy" / "journal")
    assert index.find(None, EVER) == Found((), (), (), 0)
    assert not index.path.parent.exists()


def test_an_index_that_cannot_be_written_is_named(index: Index) -> None:
    index.path.mkdir()
    with pytest.raises(TransientError, match=r"history\.sqlite: .*expected an index that can be written"):
        index.find(None, EVER)


FIND = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from tasks.history import Index
index = Index(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
for rebuild in (False, True, False, True, False):
    print(len(index.find(None, datetime(2000, 1, 1, tzinfo=UTC), rebuild=rebuild).entries))
"""


def test_processes_may_build_it_at_once(index: Index) -> None:
    for number in range(30):
        Past(index.journals, f"n{number}").failed(outcome=Outcome.ROLLED_BACK)
    command = [sys.executable, "-c", FIND, str(index.path), str(index.journals)]
    processes = [Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    said = [process.communicate("go\n", timeout=60) for process in processes]
    assert [err for _, err in said] == [""] * 4
    assert [out.split() for out, _ in said] == [["33"] * 5] * 4, "each saw every release, each time"
    assert set(index.find(None, EVER).entries) == by_journals(index)
