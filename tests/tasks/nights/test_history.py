"""What journals and earlier nights say of a service."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tasks.domain.errors import JournalError, PermanentError
from tasks.domain.model import Revision, Slot
from tasks.domain.spec import service_adapter
from tasks.journal import Journal, journal_of
from tasks.nights.book import nights, open_book, read_night
from tasks.nights.entry import Decision, Entry
from tasks.nights.history import busy, taken_back
from tasks.nights.report import headline, markdown_of
from tasks.record import Opening

SHOP = service_adapter.validate_python(
    {"service": "shop", "strategy": "rolling", "fleet": {"command": "serve"}, "router": {"port": 8080}}
)


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Each test has a state folder of its own."""


def release(
    name: str, version: str, outcome: str = "", *, kind: str = "rolling", stable: str = "1.0.0"
) -> Journal:
    journal = journal_of("shop", name)
    opening = Opening(kind, SHOP, version, Revision("shop", Slot.BLUE, stable), 2)
    journal.append("opened", epoch=1, **opening.to_json())
    if outcome:
        journal.append("ended", outcome=outcome, message="m")
    return journal


@pytest.mark.parametrize(
    ("outcome", "how"),
    [
        ("RolledBack", "rolled back"),
        ("Aborted", "aborted"),
        ("Rejected", "rejected"),
        ("Tried", "tried"),
        ("Failed", "failed"),
        ("Promoted", None),
        ("Superseded", None),
        ("", None),
    ],
)
def test_the_end_of_a_version_s_release_is_remembered(outcome: str, how: str | None) -> None:
    release("r1", "1.1.0", outcome)
    before = taken_back("shop", "1.1.0")
    assert (before.how if before else None) == how
    assert taken_back("shop", "1.2.0") is None


def test_it_is_remembered_however_many_releases_there_were_since() -> None:
    release("r0", "2.0.0", "RolledBack")
    for number in range(12):
        release(f"r{number + 1}", f"1.0.{number}", "Promoted")
    before = taken_back("shop", "2.0.0")
    assert before
    assert before.release == "r0"


def test_what_went_well_later_is_forgiven_and_what_was_left_by_a_rollback_is_not() -> None:
    release("r1", "1.1.0", "RolledBack")
    release("r2", "1.1.0", "Promoted")
    assert taken_back("shop", "1.1.0") is None
    release("r3", "1.0.0", "Promoted", kind="rollback", stable="1.1.0")
    before = taken_back("shop", "1.1.0")
    assert before
    assert (before.how, before.release) == ("rolled back from", "r3")
    assert taken_back("shop", "1.0.0") is None


def test_a_release_under_way_or_left_frozen_is_told() -> None:
    assert busy("shop") == ""
    journal = release("r1", "1.1.0")
    assert busy("shop") == "a release is under way: r1 of 1.1.0"
    journal.append("ended", outcome="Frozen", message="m")
    assert busy("shop") == "a release was left frozen: r1 of 1.1.0"
    journal.append("thawed", by="somebody")
    assert busy("shop") == ""


def test_a_journal_that_was_changed_is_not_passed_over() -> None:
    journal = release("r1", "1.1.0", "RolledBack")
    journal.path.write_text(journal.path.read_text().replace("1.1.0", "1.1.1"))
    with pytest.raises(JournalError):
        taken_back("shop", "1.1.0")


def entry(**fields: object) -> Entry:
    return Entry.model_validate({"service": "shop", "decision": "release", "reason": "new", **fields})


def test_a_night_knows_what_exactly_it_released() -> None:
    release("r1", "1.1.0", "RolledBack")
    (nights()).mkdir(parents=True)
    (nights() / "2026-11-01-0100.json").write_text("not a night's record")
    with open_book("2026-11-02-0100", date(2026, 11, 2)) as book:
        book.change(entries=(entry(release="r1", digest="sha256:1"),))
    before = taken_back("shop", "1.1.0")
    assert before
    assert before.digest == "sha256:1"


def test_a_night_s_record_comes_back_as_it_was_left() -> None:
    began = datetime(2026, 11, 2, 1, tzinfo=UTC)
    with open_book("n", date(2026, 11, 2)) as book:
        book.change(entries=(entry(), entry(service="cart")), waves=(("shop",), ("cart",)))
        book.put(entry(began=began, release="r1"))
        left = book.record
    with open_book("n", date(2026, 11, 2)) as book:
        assert book.record == left == read_night(nights() / "n.json")
        assert (book.record.entry("shop").runs, book.record.entry("cart").waits) == (True, True)


def test_a_file_that_is_no_night_s_record_is_named() -> None:
    nights().mkdir(parents=True)
    (nights() / "n.json").write_text("{}")
    with (
        pytest.raises(PermanentError, match=r"n\.json: found something else"),
        open_book("n", date(2026, 11, 2)),
    ):
        pass


def test_the_report_shows_what_others_wrote_as_it_is() -> None:
    odd = entry(found="1|<b>0*", outcome="Failed", message="two\nlines | `x`", ended=datetime.now(UTC))
    with open_book("n", date(2026, 11, 2)) as book:
        book.change(entries=(odd, entry(service="cart", decision=Decision.UNKNOWN)), stopped=True)
        shown = markdown_of(book.record)
        assert "could not be looked at; stopped after too many failures." in headline(book.record)
    row = next(line for line in shown.splitlines() if line.startswith("| shop"))
    assert r"1\|&lt;b&gt;0\*" in row
    assert r"Failed: two lines \| \`x\`" in row
    assert (
        len({line.replace(r"\|", "").count("|") for line in shown.splitlines() if line.startswith("|")}) == 1
    )
