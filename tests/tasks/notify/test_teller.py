"""The teller: everything is told once, whatever fails, ends or is killed, and nobody waits for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from tasks.domain.model import Outcome
from tasks.domain.settings import settings
from tasks.notify.secret_places import secret_reader
from tasks.notify.teller import Teller
from tests.tasks.notify.receivers import Answer, FakeSlack, Receiver, events
from tests.tasks.notify.releases import (
    CANARY,
    LINKS,
    SOON,
    Releasing,
    await_that,
    by_slack,
    by_webhook,
    notices,
)

Start = Callable[[], Teller]


def test_a_release_is_told_from_start_to_end(
    start: Start, releasing: Releasing, slack: FakeSlack, receiver: Receiver
) -> None:
    teller, to = start(), notices(by_slack(slack.url), by_webhook(receiver.url))
    teller.look(releasing.journal, to)
    assert teller.settle(SOON) == 0
    releasing.gate()
    assert teller.settle(SOON) == 0
    releasing.journal.append("ruling", "25%", approved=True, reason="approved by alice (verified)", plan="p")
    releasing.promoted()
    assert teller.settle(SOON) == 0
    assert events(receiver) == ["start", "gate", "approved", "end"]
    assert len(slack.posts) == 4
    assert {post.get("thread_ts") for post in slack.posts[1:]} == {slack.posts[0]["ts"]}
    body = receiver.requests[-1].json
    assert (body["outcome"], body["service"], body["version"], body["stable"]) == (
        "Promoted",
        "shop",
        "2.0",
        "1.9",
    )
    assert {request.json["run_url"] for request in receiver.requests} == {"https://prefect.example/run/run-1"}


def test_each_channel_is_told_of_its_own_events(
    start: Start, releasing: Releasing, receiver: Receiver
) -> None:
    all_of, ends = by_webhook(f"{receiver.url}/all"), by_webhook(f"{receiver.url}/end", on=["end"])
    teller = start()
    teller.look(releasing.journal, notices(all_of, ends))
    releasing.promoted()
    assert teller.settle(SOON) == 0
    assert [request.path for request in receiver.requests].count("/end") == 1
    assert [request.path for request in receiver.requests].count("/all") == 2


def test_a_message_that_is_never_wanted_does_not_hold_up_the_others(
    start: Start, releasing: Releasing, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers["/"] = [Answer(422)]
    teller = start()
    teller.look(releasing.journal, notices(by_webhook(receiver.url)))
    releasing.promoted()
    assert teller.settle(SOON) == 0
    assert events(receiver) == ["start", "end"]
    assert caplog.text.count("a message (start) is left out: webhook to 127.0.0.1: found status 422") == 1


def test_a_slow_channel_delays_neither_who_shows_a_release_nor_the_other_channels(
    start: Start, releasing: Releasing, slack: FakeSlack, receiver: Receiver
) -> None:
    slack.may_answer.clear()
    teller, to = start(), notices(by_slack(slack.url), by_webhook(receiver.url))
    began = time.monotonic()
    for _ in range(50):
        teller.look(releasing.journal, to)
    assert time.monotonic() - began < 2
    await_that(lambda: receiver.requests and slack.requests)
    releasing.promoted()
    await_that(lambda: events(receiver) == ["start", "end"])
    assert slack.posts == []
    slack.may_answer.set()
    assert teller.settle(SOON) == 0
    assert len(slack.posts) == 2


def test_a_frozen_release_is_told_again_when_somebody_takes_it_back(
    start: Start, releasing: Releasing, receiver: Receiver
) -> None:
    teller = start()
    teller.look(releasing.journal, notices(by_webhook(receiver.url)))
    releasing.journal.append("ended", outcome=Outcome.FROZEN, message="it failed")
    assert teller.settle(SOON) == 0
    releasing.journal.append("thawed")
    releasing.journal.append("ended", outcome=Outcome.ABORTED, message="aborted by alice")
    assert teller.settle(SOON) == 0
    assert [request.json["outcome"] for request in receiver.requests] == [None, "Frozen", "Aborted"]


def test_secrets_are_read_anew_and_stand_in_no_log_and_no_file(
    start: Start,
    releasing: Releasing,
    slack: FakeSlack,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("SLACK_TOKEN", f"{CANARY}-old")
    to = notices(by_slack(slack.url, token={"env": "SLACK_TOKEN"}))
    start().close()
    teller = Teller(LINKS, secret_reader(lambda _name: SecretStr("")))
    teller.look(releasing.journal, to)
    await_that(lambda: "found invalid_auth" in caplog.text)
    monkeypatch.setenv("SLACK_TOKEN", CANARY)
    assert teller.settle(SOON) == 0
    releasing.back()
    assert teller.settle(SOON) == 0
    teller.close()
    written = "".join(path.read_text() for path in settings().root.rglob("*") if path.is_file())
    assert "id" in written
    assert CANARY not in caplog.text + repr(to) + repr(vars(teller)) + written


def test_a_digest_is_told_once(start: Start, receiver: Receiver) -> None:
    from tasks.notify.digest import digest  # noqa: PLC0415 - as a nightly run does

    night = {"date": "2026-11-27", "services": [{"service": "shop", "version": "2.0", "outcome": "Promoted"}]}
    for _ in range(2):
        teller = start()
        teller.tell(digest(night, LINKS), notices(by_webhook(receiver.url)))
        assert teller.settle(SOON) == 0
    assert events(receiver) == ["digest"]
