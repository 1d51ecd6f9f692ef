"""The journal: nothing that was written is lost, nothing that was changed goes unseen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.domain.errors import JournalError, LeaseLostError
from tasks.journal import Journal, all_journals, journal_of, journals_of

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from pathlib import Path
from tasks.journal.journal import Journal

journal, name = Journal(Path(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    journal.append("line", name, number=number, padding="x" * 500)
    print(number, flush=True)
"""
PROCESSES, THREADS, LINES = 3, 3, 15

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop" / "shop-1.4.2-r1.jsonl"


def writer(path: Path, name: str, lines: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(lines)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kinds(journal: Journal) -> list[str]:
    return [line.kind for line in journal.lines()]


def test_what_is_written_is_read_in_order_by_others(path: Path) -> None:
    journal = Journal(path)
    assert not journal.exists()
    journal.append("opened", replicas=2)
    journal.append("intent", "shift-traffic-5%", epoch=3)
    opened, intent = Journal(path).lines()
    assert (opened.kind, opened.key, opened.epoch, opened.data) == ("opened", "", 0, {"replicas": 2})
    assert (intent.kind, intent.key, intent.epoch, intent.data) == ("intent", "shift-traffic-5%", 3, {})
    assert intent.before == opened.hash
    assert opened.at.utcoffset() == timedelta(0)
    assert Journal(path).release == "shop-1.4.2-r1"


@hypothesis_settings(max_examples=40)
@given(data=st.dictionaries(st.text(min_size=1), json_values, max_size=4))
def test_evidence_comes_back_as_it_was(
    data: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "r.jsonl"
    written = Journal(path).append("check", evidence=data)
    assert written.data == {"evidence": data}
    assert Journal(path).lines() == [written]


def test_writers_in_many_threads_and_processes_lose_and_double_nothing(path: Path) -> None:
    def write(name: str) -> None:
        journal = Journal(path)
        for number in range(LINES):
            journal.append("line", name, number=number)

    processes = [writer(path, f"process-{n}", LINES) for n in range(PROCESSES)]
    threads = [threading.Thread(target=write, args=(f"thread-{n}",)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * PROCESSES
    found = [(line.key, line.data["number"]) for line in Journal(path).lines()]
    assert set(Counter(found).values()) == {1}
    assert len(found) == (PROCESSES + THREADS) * LINES
    for name in {key for key, _ in found}:
        assert [number for key, number in found if key == name] == list(range(LINES))


def test_threads_share_one_journal(path: Path) -> None:
    journal = Journal(path)
    threads = [
        threading.Thread(target=lambda n=n: [journal.append("line", str(n)) for _ in range(10)])
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(line.key for line in Journal(path).lines()) == {str(n): 10 for n in range(5)}


def test_a_reader_sees_what_another_one_wrote_since(path: Path) -> None:
    first, second = Journal(path), Journal(path)
    first.append("one")
    assert kinds(second) == ["one"]
    second.append("two")
    assert kinds(first) == ["one", "two"]


@pytest.mark.parametrize("part", [1, 10, 100, -1])
def test_a_torn_last_line_is_passed_over_and_the_next_one_counts(path: Path, part: int) -> None:
    journal = Journal(path)
    journal.append("one")
    journal.append("two")
    whole = path.read_bytes()
    torn = Journal(path).lines()[1].encode()
    path.write_bytes(whole[: len(whole) - len(torn)] + torn[:part])
    again = Journal(path)
    seen = kinds(again)
    assert seen in (["one"], ["one", "two"])
    again.append("three")
    assert kinds(again)[-1] == "three"
    assert kinds(Journal(path)) == kinds(again)


def test_a_line_torn_in_the_middle_of_the_file_is_passed_over(path: Path) -> None:
    Journal(path).append("one")
    with path.open("ab") as file:
        file.write(b'{"at": "2026-01-01T00:00:00+00:00", "epo')
    Journal(path).append("two")
    Journal(path).append("three")
    assert kinds(Journal(path)) == ["one", "two", "three"]


def test_a_killed_writer_leaves_a_journal_that_can_be_read_and_written(path: Path) -> None:
    for round_ in range(3):
        process = writer(path, f"killed-{round_}", 10_000)
        assert process.stdout
        for _ in range(3 + round_):
            confirmed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        journal = Journal(path)
        numbers = [line.data["number"] for line in journal.lines() if line.key == f"killed-{round_}"]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > confirmed, "what was confirmed was kept"
        journal.append("after", str(round_))
    assert [line.key for line in Journal(path).lines() if line.kind == "after"] == ["0", "1", "2"]


def _changed(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"two"', b'"TWO"'), *lines[2:]]


def _changed_with_its_hash(lines: list[bytes]) -> list[bytes]:
    """By somebody who knows how hashes are made."""
    fields = json.loads(lines[1]) | {"data": {"by": "nobody"}}
    fields.pop("hash")
    import hashlib  # noqa: PLC0415 - the forger's tool

    fields["hash"] = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return [lines[0], json.dumps(fields).encode(), *lines[2:]]


@pytest.mark.parametrize(
    "forge",
    [
        _changed,
        _changed_with_its_hash,
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        lambda lines: [lines[0], b"5", *lines[2:]],
        lambda lines: [lines[0], b"not a line", *lines[2:]],
        lambda lines: [lines[0], lines[1].replace(b'"data": {}', b'"data": 5'), *lines[2:]],
    ],
    ids=[
        "changed",
        "forged",
        "removed",
        "first removed",
        "swapped",
        "not an object",
        "not json",
        "other type",
    ],
)
def test_a_journal_that_was_tampered_with_is_refused(path: Path, forge: object) -> None:
    for kind in ("one", "two", "three", "four"):
        Journal(path).append(kind)
    assert callable(forge)
    path.write_bytes(b"\n".join(forge(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(JournalError, match="expected"):
        Journal(path).lines()
    with pytest.raises(JournalError):
        Journal(path).append("five")


def test_who_lost_the_lease_cannot_write_any_more(path: Path) -> None:
    old, new = Journal(path), Journal(path)
    old.append("opened", epoch=3)
    new.append("carried", epoch=4)
    with pytest.raises(LeaseLostError, match="found epoch 4 in the journal, expected at most 3"):
        old.append("asked", epoch=3)
    new.append("asked", epoch=4)
    old.append("abort", by="a person, who needs no lease")
    assert kinds(Journal(path)) == ["opened", "carried", "asked", "abort"]


def test_values_that_json_does_not_know_are_written_as_text(path: Path) -> None:
    written = Journal(path).append("live", path=Path("/x"), when=timedelta(seconds=1), shares=(1, 2))
    assert written.data == {"path": "/x", "when": "0:00:01", "shares": [1, 2]}
    assert Journal(path).lines() == [written]


def test_journals_are_found_by_service_the_newest_first(home: Path) -> None:
    del home
    for number, name in enumerate(["a-1", "a-2", "a-3"]):
        journal_of("a", name).append("opened")
        moment = time.time() - 100 + number
        os.utime(journal_of("a", name).path, (moment, moment))
    journal_of("b", "b-1").append("opened")
    assert [journal.release for journal in journals_of("a")] == ["a-3", "a-2", "a-1"]
    assert {journal.release for journal in all_journals()} == {"a-1", "a-2", "a-3", "b-1"}
