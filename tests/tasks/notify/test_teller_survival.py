"""What becomes of messages when channels fail, disks are full, and tellers are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.domain.settings import settings
from tasks.journal import Journal
from tasks.notify import delivery
from tasks.notify.teller import Teller
from tests.tasks.notify.receivers import LOST, Answer, FakeSlack, Receiver, events, serving
from tests.tasks.notify.releases import (
    CANARY,
    SOON,
    Releasing,
    await_that,
    by_slack,
    by_webhook,
    notices,
)

Start = Callable[[], Teller]


def test_nothing_is_told_twice_and_nothing_left_out_when_it_is_started_again_at_any_time(
    start: Start, releasing: Releasing, slack: FakeSlack, receiver: Receiver
) -> None:
    to = notices(by_slack(slack.url), by_webhook(receiver.url))
    steps: list[Callable[[], object]] = [
        lambda: None,
        releasing.gate,
        lambda: releasing.journal.append("ruling", "25%", approved=False, reason="rejected by bob", plan="p"),
        releasing.back,
        lambda: None,
    ]
    for step in steps:
        teller = start()
        teller.look(releasing.journal, to)
        step()
        assert teller.settle(SOON) == 0
    assert events(receiver) == ["start", "gate", "rejected", "failure", "end"]
    assert len(slack.posts) == 5


def test_what_was_lost_on_the_way_is_sent_again_in_order(
    start: Start, releasing: Releasing, slack: FakeSlack, receiver: Receiver
) -> None:
    receiver.answers["/"] = [Answer(500), LOST, Answer(429, None, (("Retry-After", "0"),))]
    limited = Answer(429, {"ok": False, "error": "ratelimited"}, (("Retry-After", "1"),))
    slack.answers["/chat.postMessage"] = [limited, Answer(200, {"ok": False, "error": "not_in_channel"})]
    teller = start()
    teller.look(releasing.journal, notices(by_slack(slack.url), by_webhook(receiver.url)))
    releasing.gate()
    assert teller.settle(SOON) == 0
    assert events(receiver) == ["start"] * 4 + ["gate"]
    assert len({request.headers["x-davy-delivery"] for request in receiver.requests}) == 2
    assert len(slack.posts) == 2
    asked = [request.at for request in slack.requests if request.path == "/chat.postMessage"]
    assert asked[1] - asked[0] >= 1


def test_a_channel_that_stays_away_is_said_once_and_dropped_an_hour_after_the_end(
    start: Start,
    releasing: Releasing,
    free_port: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = notices(by_webhook(f"http://127.0.0.1:{free_port()}/"))
    teller = start()
    teller.look(releasing.journal, to)
    releasing.back()
    await_that(lambda: "not told yet" in caplog.text)
    assert teller.settle(timedelta(seconds=1)) == 1
    assert caplog.text.count("not told yet: webhook to 127.0.0.1: found URLError") == 1
    monkeypatch.setattr(delivery, "GIVE_UP", timedelta(0))
    assert teller.settle(SOON) == 0
    assert caplog.text.count("3 message(s) could not be told and are dropped") == 1
    again = start()
    again.look(releasing.journal, to)
    assert again.settle(SOON) == 0
    assert caplog.text.count("dropped") == 1


def test_a_channel_that_comes_back_within_the_hour_is_told_everything(
    start: Start, releasing: Releasing, free_port: Callable[[], int]
) -> None:
    port = free_port()
    teller = start()
    teller.look(releasing.journal, notices(by_webhook(f"http://127.0.0.1:{port}/")))
    releasing.back()
    assert teller.settle(timedelta(milliseconds=300)) == 1
    with serving(receiver := Receiver(port)):
        assert teller.settle(SOON) == 0
    assert events(receiver) == ["start", "failure", "end"]


def test_a_full_disk_keeps_nobody_from_being_told(
    start: Start, releasing: Releasing, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    (settings().root / "told").write_text("where the folder should be")
    teller = start()
    teller.look(releasing.journal, notices(by_webhook(receiver.url)))
    releasing.promoted()
    assert teller.settle(SOON) == 0
    assert events(receiver) == ["start", "end"]
    assert "what was told can't be kept" in caplog.text


KILLED = """
import sys
from datetime import timedelta
from pathlib import Path
from pydantic import SecretStr, TypeAdapter
from tasks.domain.notices import Notices
from tasks.journal import Journal
from tasks.notify.base import Links
from tasks.notify.teller import Teller
path, notices, secret = sys.argv[1:]
teller = Teller(Links(str), lambda place: SecretStr(secret))
teller.look(Journal(Path(path)), TypeAdapter(Notices).validate_json(notices))
teller.settle(timedelta(minutes=1))
"""


def killed_while(journal: Journal, to: list[dict[str, Any]], at: Callable[[], object]) -> None:
    """Run a teller in a process that is killed once *at* is true."""
    command = [sys.executable, "-c", KILLED, str(journal.path), json.dumps(to), CANARY]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
        try:
            await_that(at)
        finally:
            os.kill(process.pid, signal.SIGKILL)


def test_a_teller_killed_in_the_middle_of_a_message_tells_it_once(
    start: Start, releasing: Releasing, slack: FakeSlack, receiver: Receiver
) -> None:
    releasing.gate()
    slack.may_answer.clear()
    receiver.may_answer.clear()
    contents = [by_slack(slack.url, channel="C0RELEASES"), by_webhook(receiver.url)]
    killed_while(releasing.journal, contents, lambda: slack.requests and receiver.requests)
    slack.may_answer.set()
    receiver.may_answer.set()
    await_that(lambda: len(slack.posts) == 1)  # it is carried out, though nobody waits for it
    teller = start()
    teller.look(releasing.journal, notices(*contents))
    releasing.promoted()
    assert teller.settle(SOON) == 0
    assert [bool(post.get("thread_ts")) for post in slack.posts] == [False, True, True]
    ids = [request.headers["x-davy-delivery"] for request in receiver.requests]
    assert ids[0] == ids[1]  # it can't be known, so the receiver is told once more, and told which it is
    assert len(set(ids)) == 3


def test_a_file_of_what_was_told_that_is_broken_is_said_and_nothing_is_sent(
    start: Start, releasing: Releasing, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    path = settings().root / "told" / "shop" / f"{releasing.journal.release}.0-webhook.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(["torn"]))
    teller = start()
    teller.look(releasing.journal, notices(by_webhook(receiver.url)))
    await_that(lambda: "found something else, expected what was told so far" in caplog.text)
    assert receiver.requests == []
    path.unlink()
    assert teller.settle(SOON) == 0
    assert events(receiver) == ["start"]


def test_an_old_release_that_was_never_told_is_not_told_now(
    start: Start, home: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.tasks.report.told import promoted  # noqa: PLC0415 - a release of days ago

    told = promoted(home / "journal")
    assert datetime.now(UTC) - told.record.opened_at > timedelta(hours=1)
    teller = start()
    teller.look(Journal(told.path), notices(by_webhook(receiver.url)))
    assert teller.settle(SOON) == 0
    assert receiver.requests == []
    assert "2 message(s) could not be told and are dropped" in caplog.text
