"""Webhooks: what a receiver can rely on."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.secrets import SecretPlace
from tasks.notify import open_channel
from tasks.notify.base import HeldBackError, Message
from tests.tasks.notify.receivers import LOST, Answer, Receiver
from tests.tasks.notify.releases import CANARY, by_webhook, notices

Reader = Callable[[SecretPlace], SecretStr]
AT = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
MESSAGE = Message(
    "id-1",
    AT,
    "end",
    "r1",
    "Release of shop",
    "shop 2.0 has all traffic",
    fields={"event": "end", "service": "shop"},
)


def is_signed(receiver: Receiver) -> bool:
    """What a receiver does."""
    request = receiver.requests[-1]
    stamp = request.headers["x-davy-timestamp"]
    expected = hmac.new(CANARY.encode(), f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(request.headers["x-davy-signature"], f"sha256={expected}")


def test_a_receiver_can_check_who_sent_it_when_and_whether_it_has_seen_it(
    receiver: Receiver, read_secret: Reader
) -> None:
    channel = open_channel(notices(by_webhook(f"{receiver.url}/hook", secret={"env": "S"}))[0], read_secret)
    channel.send(MESSAGE, {}, again=False)
    assert is_signed(receiver)
    request = receiver.requests[-1]
    assert abs(int(request.headers["x-davy-timestamp"]) - time.time()) < 30
    assert request.headers["x-davy-delivery"] == request.json["id"] == "id-1"
    assert request.path == "/hook"
    assert request.json == {
        "id": "id-1",
        "at": "2026-11-27T03:00:00+00:00",
        "headline": "shop 2.0 has all traffic",
        "event": "end",
        "service": "shop",
    }


def test_a_delivery_keeps_its_id_at_each_try(receiver: Receiver, read_secret: Reader) -> None:
    channel = open_channel(notices(by_webhook(receiver.url, secret={"env": "S"}))[0], read_secret)
    receiver.answers["/"] = [Answer(500), LOST]
    for again in (False, True):
        with pytest.raises(TransientError):
            channel.send(MESSAGE, {}, again=again)
    channel.send(MESSAGE, {}, again=True)
    assert {request.headers["x-davy-delivery"] for request in receiver.requests} == {"id-1"}
    assert len(receiver.requests) == 3
    assert is_signed(receiver)


def test_without_a_secret_nothing_is_signed(receiver: Receiver, read_secret: Reader) -> None:
    open_channel(notices(by_webhook(receiver.url))[0], read_secret).send(MESSAGE, {}, again=False)
    assert "x-davy-signature" not in receiver.requests[-1].headers


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (422, PermanentError),
        (404, TransientError),
        (502, TransientError),
        (302, TransientError),
    ],
)
def test_a_refusal_names_host_and_status(
    receiver: Receiver, read_secret: Reader, status: int, kind: type[Exception]
) -> None:
    channel = open_channel(notices(by_webhook(f"{receiver.url}/hook"))[0], read_secret)
    receiver.answers["/hook"] = [Answer(status, CANARY, (("Location", f"{receiver.url}/other"),))]
    with pytest.raises(kind, match=f"webhook to 127.0.0.1: found status {status}, expected 2xx") as caught:
        channel.send(MESSAGE, {}, again=False)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert len(receiver.requests) == 1  # a redirect is not followed


@pytest.mark.parametrize(("asked", "pause"), [("7", 7), ("soon", 60), ("99999", 600)])
def test_a_busy_receiver_says_for_how_long_it_is(
    receiver: Receiver, read_secret: Reader, asked: str, pause: int
) -> None:
    channel = open_channel(notices(by_webhook(f"{receiver.url}/hook"))[0], read_secret)
    receiver.answers["/hook"] = [Answer(503, None, (("Retry-After", asked),))]
    with pytest.raises(HeldBackError) as caught:
        channel.send(MESSAGE, {}, again=False)
    assert caught.value.pause == timedelta(seconds=pause)


def test_an_address_that_is_a_secret_is_used_and_never_shown(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{receiver.url}/hook/{CANARY}"
    content = {"kind": "webhook", "url_from": {"env": "U"}}
    channel = open_channel(notices(content)[0], lambda _place: SecretStr(address))
    receiver.answers[f"/hook/{CANARY}"] = [Answer(200), Answer(404)]
    with caplog.at_level(logging.DEBUG):
        channel.send(MESSAGE, {}, again=False)
        with pytest.raises(TransientError, match="webhook to address in env U: found status 404") as caught:
            channel.send(MESSAGE, {}, again=False)
    assert receiver.requests[0].path == f"/hook/{CANARY}"
    assert CANARY not in caplog.text + repr(channel) + "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "found", [CANARY, f"ftp://{CANARY}", f"https://u:{CANARY}@h/", f"https://h/{CANARY} x"]
)
def test_a_secret_that_is_no_address_is_not_shown(found: str) -> None:
    content = {"kind": "webhook", "url_from": {"env": "U"}}
    channel = open_channel(notices(content)[0], lambda _place: SecretStr(found))
    with pytest.raises(TransientError, match=r"secret in env U: .*expected a web address") as caught:
        channel.send(MESSAGE, {}, again=False)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_receiver_that_is_away_is_asked_again(free_port: Callable[[], int], read_secret: Reader) -> None:
    channel = open_channel(notices(by_webhook(f"http://127.0.0.1:{free_port()}/{CANARY}"))[0], read_secret)
    with pytest.raises(TransientError, match=r"webhook to 127.0.0.1: found URLError") as caught:
        channel.send(replace(MESSAGE, id="x"), {}, again=False)
    assert CANARY not in str(caught.value)
