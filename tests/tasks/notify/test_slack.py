"""Slack: one thread for each release, and what becomes of Slack's refusals."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.secrets import SecretPlace
from tasks.notify import open_channel
from tasks.notify.base import Channel, HeldBackError, Link, Message
from tests.tasks.notify.receivers import LOST, Answer, FakeSlack
from tests.tasks.notify.releases import CANARY, by_slack, notices

Reader = Callable[[SecretPlace], SecretStr]


@pytest.fixture
def channel(slack: FakeSlack, read_secret: Reader) -> Channel:
    """The channel #releases."""
    return open_channel(notices(by_slack(slack.url))[0], read_secret)


def message(event: str = "start", headline: str = "shop 2.0 is released", **more: object) -> Message:
    made = Message(f"id-{event}", datetime.now(UTC), event, "r1", "Release of shop 2.0", headline)
    return replace(made, **more)  # type: ignore[arg-type]  # fields by name


def test_a_release_is_one_thread_and_its_end_is_written_over_the_first_message(
    slack: FakeSlack, channel: Channel
) -> None:
    thread = channel.send(message(), {}, again=False)
    thread = channel.send(message("gate", "Approval needed", is_call=True), thread, again=False)
    thread = channel.send(message("approved", "approved by alice"), thread, again=False)
    channel.send(message("end", "shop 2.0 has all traffic", is_last=True), thread, again=False)
    first, gate, approved, end = slack.posts
    assert [post.get("thread_ts") for post in slack.posts] == [None, *[first["ts"]] * 3]
    assert (gate["reply_broadcast"], approved["reply_broadcast"], end["reply_broadcast"]) == (
        True,
        False,
        False,
    )
    assert (first["text"], end["text"]) == ("shop 2.0 has all traffic", "shop 2.0 has all traffic")
    assert "It began: shop 2.0 is released" in str(first["blocks"])


def test_a_failure_is_shown_in_the_channel_too(slack: FakeSlack, channel: Channel) -> None:
    thread = channel.send(message(), {}, again=False)
    channel.send(message("end", "shop 2.0 was taken back", is_call=True), thread, again=False)
    assert slack.posts[1]["reply_broadcast"] is True


def test_what_users_of_davy_write_is_text_and_nothing_else(slack: FakeSlack, channel: Channel) -> None:
    bad = "2.0 <!channel> <https://evil|click> & \x00\u202e" + "<" * 5000
    sent = message(headline=bad, details=(bad, bad), links=(Link("a|b>", "https://x/?a=1&b=<|y"),))
    channel.send(sent, {}, again=False)
    post = slack.posts[0]
    assert post["text"].startswith("2.0 &lt;!channel&gt; &lt;https://evil|click&gt; &amp;")
    texts = [block["text"]["text"] for block in post["blocks"]]
    assert all("<!" not in text and "\x00" not in text and "\u202e" not in text for text in texts)
    assert texts[-1] == "<https://x/?a=1&amp;b=&lt;%7Cy|a|b&gt;>"


def test_a_digest_of_many_services_fits(slack: FakeSlack, channel: Channel) -> None:
    details = tuple(f"service {number}: {'&' * 190}" for number in range(60))
    channel.send(message("digest", details=details), {}, again=False)
    assert "service 59" in str(slack.posts[0]["blocks"])


def test_slack_says_for_how_long_it_wants_to_be_left_alone(slack: FakeSlack, channel: Channel) -> None:
    busy = Answer(429, {"ok": False, "error": "ratelimited"}, (("Retry-After", "7"),))
    slack.answers["/chat.postMessage"] = [busy]
    with pytest.raises(HeldBackError) as caught:
        channel.send(message(), {}, again=False)
    assert caught.value.pause == timedelta(seconds=7)


@pytest.mark.parametrize("code", ["channel_not_found", "invalid_auth", "not_in_channel", "internal_error"])
def test_a_refusal_names_channel_and_code_and_is_tried_again(
    slack: FakeSlack, channel: Channel, code: str
) -> None:
    slack.answers["/chat.postMessage"] = [Answer(200, {"ok": False, "error": code})]
    with pytest.raises(TransientError, match=f"slack #releases: found {code}, expected ok"):
        channel.send(message(), {}, again=False)


def test_a_message_that_slack_never_takes_is_not_tried_again(slack: FakeSlack, channel: Channel) -> None:
    slack.answers["/chat.postMessage"] = [Answer(200, {"ok": False, "error": "msg_too_long"})]
    with pytest.raises(PermanentError, match="msg_too_long"):
        channel.send(message(), {}, again=False)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"ok": False, "error": CANARY}),
        Answer(200, {"ok": False, "error": "invalid_auth", "needed": CANARY}),
        Answer(500, {"error": CANARY}),
        Answer(200, [CANARY]),
        LOST,
    ],
    ids=str,
)
def test_what_slack_says_is_not_repeated(slack: FakeSlack, channel: Channel, answer: Answer | str) -> None:
    slack.answers["/chat.postMessage"] = [answer]
    with pytest.raises(TransientError) as caught:
        channel.send(message(), {}, again=False)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(channel)


def test_a_message_whose_answer_was_lost_is_found_and_not_sent_twice(
    slack: FakeSlack, channel: Channel
) -> None:
    thread = channel.send(message(), {}, again=False)
    slack.answers["/chat.postMessage"] = [LOST]
    with pytest.raises(TransientError):
        channel.send(message("gate"), thread, again=False)
    assert channel.send(message("gate"), thread, again=True) == thread
    assert len(slack.posts) == 2


def test_a_first_message_whose_answer_was_lost_is_found_in_a_channel_named_by_its_id(
    slack: FakeSlack, read_secret: Reader
) -> None:
    channel = open_channel(notices(by_slack(slack.url, channel="C0RELEASES"))[0], read_secret)
    slack.answers["/chat.postMessage"] = [LOST]
    with pytest.raises(TransientError):
        channel.send(message(), {}, again=False)
    thread = channel.send(message(), {}, again=True)
    assert thread["ts"] == slack.posts[0]["ts"]
    assert len(slack.posts) == 1


def test_an_app_that_may_not_read_sends_again_what_may_be_lost(slack: FakeSlack, channel: Channel) -> None:
    slack.scopes = {"chat:write"}
    channel.send(message(), {}, again=True)
    assert len(slack.posts) == 1


def test_a_thread_that_somebody_deleted_is_begun_again(slack: FakeSlack, channel: Channel) -> None:
    thread = channel.send(message(), {}, again=False)
    slack.posts.clear()
    new = channel.send(message("end", is_last=True), thread, again=False)
    assert new["ts"] == slack.posts[0]["ts"] != thread["ts"]
