"""The page of past releases: complete in itself, safe to open, and all that it must tell."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.model import Outcome
from tasks.history import Entry, Found, History, Unreadable, entry_of, history_of
from tasks.journal import Journal
from tasks.report.history_page import NEWEST, WEEKS, Links, history_page, weeks_of
from tests.tasks.history.past import NOW, Past

NASTY = "<script>alert(1)</script>&\"'"


class Read(HTMLParser):
    """What a browser would load, every tag, and the text of each table row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.rows: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        self.tags.add(tag)
        loads = [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        self.loaded += [one for one in loads if not one.startswith("#")]
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        """Collect."""
        self.text += data
        if self.rows:
            self.rows[-1] += f"{' '.join(data.split())} "


def told(*pasts: Past, unreadable: tuple[Unreadable, ...] = (), days: int = 30) -> History:
    entries = [entry for past in pasts if (entry := entry_of(Journal(past.path)))]
    entries.sort(key=lambda entry: entry.began, reverse=True)
    found = Found(tuple(entries), unreadable, (), 0)
    return history_of(found, NOW - timedelta(days=days), NOW)


def page_of(history: History, links: dict[str, Links] | None = None) -> str:
    return history_page(history, {one: (links or {}).get(one.release, Links()) for one in history.entries})


def row(page: Read, start: str) -> str:
    return next(" ".join(text.split()) for text in page.rows if start in text)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Two services; one release promoted, one failed, one that was stopped, one that a rollback took back."""
    bad = Past(tmp_path, "bad", version="v4", stable="v2", ago=timedelta(days=3)).promoted()
    back: dict[str, Any] = {"version": "v2", "stable": "v4", "kind": "rollback", "ago": timedelta(days=2)}
    return told(
        Past(tmp_path, "good", ago=timedelta(days=9)).promoted(),
        Past(tmp_path, "failed", version="v3", ago=timedelta(days=8)).failed(by="ana"),
        Past(tmp_path, "stopped", service="wing").stopped(),
        *(bad, Past(tmp_path, "back", **back).rolled_back()),
    )


def test_each_service_has_its_figures_and_all_have_theirs(history: History) -> None:
    page = Read(page_of(history))
    assert "2 (0.5 a week) 10 min (10 min) 67 % (2 of 3)" in row(page, "shop ")
    assert "0 (0.0 a week) - no deployments - 1 0 0" in row(page, "wing ")
    assert "67 % (2 of 3)" in row(page, "all ")


def test_each_release_is_told(history: History) -> None:
    page = Read(page_of(history))
    failed = "v1 → v3 canary RolledBack 63 s 5 % too many errors (by ana; users back after 2.0 s)"
    assert failed in row(page, "failed ")
    assert "v2 → v4 canary Promoted rolled back later" in row(page, "bad ")
    assert "rolled back later" not in row(page, "good ")
    assert "v1 → v2 canary Promoted 10 min 100 %" in row(page, "good ")


def test_links_lead_to_reports_and_runs_where_there_are_any(history: History) -> None:
    page = Read(page_of(history, {"good": Links("report-good.html", "http://127.0.0.1:4200/run")}))
    assert sorted(page.loaded) == ["http://127.0.0.1:4200/run", "report-good.html"]


def test_nothing_is_loaded_and_nothing_runs(history: History) -> None:
    text = page_of(history)
    page = Read(text)
    assert page.loaded == []
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "width=device-width" in text


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    past = Past(tmp_path, "r1", version=NASTY, stable=NASTY).failed(reason=NASTY, by=NASTY)
    history = told(past, unreadable=(Unreadable(NASTY, NASTY, NASTY),))
    entries = tuple(one._replace(service=NASTY, kind=NASTY, release=NASTY) for one in history.entries)
    nasty = history_of(Found(entries, history.unreadable, (), 0), history.since, history.until)
    text = page_of(nasty, {NASTY: Links(NASTY, NASTY)})
    assert "<script" not in text
    assert NASTY in Read(text).text


def test_journals_that_cannot_be_read_are_told_of(history: History) -> None:
    assert "can't be read" not in page_of(history)
    page = Read(page_of(told(unreadable=(Unreadable("shop", "r9", "line 3 was changed"),))))
    assert "shop r9: line 3 was changed" in " ".join(page.text.split())


def test_without_releases_that_is_said_and_no_figure_is_shown() -> None:
    page = Read(page_of(told()))
    assert "No releases ended in this time." in page.text
    assert not page.tags & {"svg", "table"}
    assert "%" not in page.text.split("Figures")[1]


def test_one_that_runs_is_listed_without_figures(tmp_path: Path) -> None:
    page = Read(page_of(told(Past(tmp_path).live(5, candidate=5, blue=95))))
    assert "under way" in row(page, "canary")
    assert "svg" not in page.tags


def test_only_the_newest_are_listed_and_that_is_said(history: History) -> None:
    (one, *_) = history.entries
    many: tuple[Entry, ...] = tuple(one._replace(release=f"n{number}") for number in range(NEWEST + 5))
    page = Read(page_of(history_of(Found(many, (), (), 0), history.since, history.until)))
    assert sum("canary" in text or "rollback " in text for text in page.rows) == NEWEST
    assert f"The newest {NEWEST} of {NEWEST + 5} releases" in page.text


def test_names_that_are_no_characters_can_be_written(tmp_path: Path) -> None:
    history = told(Past(tmp_path, version="v\ud83d").failed(reason="\ud83d"))
    assert page_of(history).encode()


def test_the_same_history_gives_the_same_page(history: History) -> None:
    assert page_of(history) == page_of(history)


def test_each_week_is_drawn_also_those_without_releases(history: History) -> None:
    monday = NOW  # noon
    entry = history.entries[0]._replace(kind="canary", outcome=Outcome.PROMOTED, ended=monday)
    weeks = weeks_of({entry: "promoted"}, NOW - timedelta(days=30), NOW)  # type: ignore[dict-item]  # an End is text
    assert [week.since.day for week in weeks] == [19, 26, 2, 9, 16, 23]
    assert [sum(week.ends.values()) for week in weeks] == [0, 0, 0, 0, 0, 1]
    assert len(weeks_of({}, NOW - timedelta(days=5000), NOW)) == WEEKS
