"""A night is told by one digest: when it is over, or as far as it came, and never twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from tasks.nights.book import Book, NightRecord, open_book
from tasks.nights.entry import Decision, Entry
from tasks.notify.nights import RESUMED_WITHIN, Nights
from tasks.notify.teller import Teller
from tests.tasks.notify.receivers import Receiver, events
from tests.tasks.notify.releases import LINKS, SOON, by_webhook, notices

Start = Callable[[], Teller]
DAY = date(2026, 11, 27)
NOW = datetime.now(UTC)


def a_night(book: Book, receiver: Receiver, **more: object) -> NightRecord:
    """One release ended well, one run could not be started, one goes on."""
    released = Entry(
        service="shop", decision=Decision.RELEASE, reason="newer", found="2.0", run="run-7", began=NOW
    )
    entries = (
        released.over(NOW, "Promoted", "shop Promoted: 2.0"),
        released.model_copy(update={"service": "cart", "run": ""}).over(NOW, "NotStarted", "no deployment"),
        released.model_copy(update={"service": "mail", "run": "run-9"}),
    )
    book.change(entries=entries, notify=notices(by_webhook(receiver.url)), **more)
    return book.record


def told(start: Start, receiver: Receiver) -> list[str]:
    """What a watcher that starts now, and looks twice, has told in all."""
    teller = start()
    nights = Nights(teller, LINKS)
    nights.look()
    nights.look()
    assert teller.settle(SOON) == 0
    return events(receiver)


def silent_for_long(home: Path) -> None:
    (path,) = (home / "nights").glob("*.json")
    long_ago = time.time() - RESUMED_WITHIN.total_seconds() - 1
    os.utime(path, (long_ago, long_ago))


def test_a_night_is_told_once_it_has_ended_and_never_again(start: Start, receiver: Receiver) -> None:
    with open_book("2026-11-27-0230", DAY) as book:
        a_night(book, receiver)
        assert told(start, receiver) == []
        book.change(ended=datetime.now(UTC))
    assert told(start, receiver) == ["digest"]
    assert told(start, receiver) == ["digest"]
    (said,) = [request.json for request in receiver.requests]
    assert said["headline"].startswith(
        "Look now: cart 2.0. The night of 2026-11-27: 1 Promoted, 1 Failed, 1 not released"
    )
    shop = next(one for one in said["services"] if one["service"] == "shop")
    assert (shop["run"], shop["outcome"]) == ("run-7", "Promoted")


def test_a_night_whose_process_is_gone_is_told_as_far_as_it_came(
    home: Path, start: Start, receiver: Receiver
) -> None:
    with open_book("2026-11-27-0230", DAY) as book:
        a_night(book, receiver)
        silent_for_long(home)
        assert told(start, receiver) == [], "it waits for a long release"
    assert told(start, receiver) == ["digest"]
    assert "was not finished" in receiver.requests[0].json["headline"]
    with open_book("2026-11-27-0230", DAY) as book:
        book.change(ended=datetime.now(UTC))
    assert told(start, receiver) == ["digest"], "started again after all"


def test_two_nights_of_a_day_are_told_each(start: Start, receiver: Receiver) -> None:
    for name in ("2026-11-27-0130", "2026-11-27-0530"):
        with open_book(name, DAY) as book:
            a_night(book, receiver, ended=datetime.now(UTC))
    assert told(start, receiver) == ["digest"] * 2
