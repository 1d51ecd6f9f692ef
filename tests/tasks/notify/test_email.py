"""E-mail: threads, encryption, and nothing that a header could be made of."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.secrets import SecretPlace
from tasks.notify import open_channel
from tasks.notify.base import Channel, Link, Message
from tests.tasks.notify.mailbox import Mailbox, mail_server
from tests.tasks.notify.releases import CANARY, notices

Reader = Callable[[SecretPlace], SecretStr]
AT = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def mailbox(port: int, tmp_path: Path) -> Iterator[Mailbox]:
    with mail_server(port, "none", tmp_path) as box:
        yield box


@pytest.fixture
def channel(port: int, read_secret: Reader) -> Channel:
    return open_channel(notices(by_email(port))[0], read_secret)


def by_email(port: int, **more: object) -> dict[str, Any]:
    base = {"kind": "email", "to": ["ops@shop.example", "dev@shop.example"], "from": "davy@shop.example"}
    return {**base, "host": "127.0.0.1", "port": port, "tls": "none", **more}


def message(event: str = "start", **more: object) -> Message:
    made = Message(
        f"id-{event}", AT, event, "r1", "Release of shop 2.0 (r1)", "shop 2.0 is released. Nothing to do."
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields by name


def test_a_release_is_one_thread(mailbox: Mailbox, channel: Channel) -> None:
    thread = channel.send(message(), {}, again=False)
    thread = channel.send(message("gate"), thread, again=False)
    channel.send(message("end"), thread, again=False)
    first, gate, end = mailbox.mails
    root = first["Message-ID"]
    assert (first["In-Reply-To"], first["Subject"]) == (None, "Release of shop 2.0 (r1)")
    assert [mail["References"] for mail in (gate, end)] == [root, root]
    assert [mail["In-Reply-To"] for mail in (gate, end)] == [root, root]
    assert gate["Subject"] == end["Subject"] == "Re: Release of shop 2.0 (r1)"
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 3


def test_a_mail_says_first_what_happened(mailbox: Mailbox, channel: Channel) -> None:
    link = Link("The run in Prefect", "https://prefect.example/run/1")
    channel.send(message(details=("It took a while: 5 µs.",), links=(link,)), {}, again=False)
    mail = mailbox.mails[0]
    assert mail.get_content().splitlines() == [
        "shop 2.0 is released. Nothing to do.",
        "",
        "It took a while: 5 µs.",
        "",
        "The run in Prefect: https://prefect.example/run/1",
    ]
    assert (mail["To"], mail["From"]) == ("ops@shop.example, dev@shop.example", "davy@shop.example")
    assert mailbox.envelopes[0].rcpt_tos == ["ops@shop.example", "dev@shop.example"]
    assert mail["Date"].datetime == AT
    assert mail["Auto-Submitted"] == "auto-generated"


def test_a_long_subject_is_one_line_and_begins_with_no_blank(mailbox: Mailbox, channel: Channel) -> None:
    subject = "Release of shop-blue-green-canary 1.2 (shop-blue-green-canary-1.2-20261127-032647-d2121e6a)"
    channel.send(message(subject=subject), {"first": "x"}, again=False)
    assert f"Subject: Re: {subject}\r\n".encode() in cast("bytes", mailbox.envelopes[0].content)
    assert mailbox.mails[0].get_content().splitlines() == ["shop 2.0 is released. Nothing to do."]


def test_the_same_message_has_the_same_id_at_each_try(mailbox: Mailbox, channel: Channel) -> None:
    for again in (False, True):
        channel.send(message("gate"), {"first": "x"}, again=again)
    assert mailbox.mails[0]["Message-ID"] == mailbox.mails[1]["Message-ID"]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x0b", "\u2028", "\x00"])
def test_a_version_cannot_become_a_header_or_another_mail(
    mailbox: Mailbox, channel: Channel, end: str
) -> None:
    evil = f"2.0{end}Bcc: thief@evil.example{end}{end}.{end}MAIL FROM:<x@evil.example>"
    channel.send(message(subject=evil, headline=evil, details=(evil,), thread=evil), {}, again=False)
    assert len(mailbox.mails) == 1
    mail = mailbox.mails[0]
    assert mail["Bcc"] is None
    assert mail["Subject"] == "2.0 Bcc: thief@evil.example . MAIL FROM:<x@evil.example>"
    assert mail.get_content().splitlines()[0] == mail["Subject"]
    assert mailbox.envelopes[0].rcpt_tos == ["ops@shop.example", "dev@shop.example"]


@pytest.mark.filterwarnings(
    "ignore:Requiring AUTH while not requiring TLS:UserWarning"
)  # it is, from the start
@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_it_logs_in_over_an_encrypted_connection(
    port: int, tmp_path: Path, read_secret: Reader, monkeypatch: pytest.MonkeyPatch, tls: str
) -> None:
    login = {"user": "davy", "password": {"env": "P"}}
    with mail_server(port, tls, tmp_path) as box:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        channel = open_channel(notices(by_email(port, tls=tls, **login))[0], read_secret)
        channel.send(message(), {}, again=False)
    assert box.logins == [(b"davy", CANARY.encode())]
    assert len(box.mails) == 1


def test_a_server_that_cannot_show_who_it_is_gets_neither_password_nor_mail(
    port: int, tmp_path: Path, read_secret: Reader
) -> None:
    login = {"user": "davy", "password": {"env": "P"}}
    with mail_server(port, "starttls", tmp_path) as box:
        channel = open_channel(notices(by_email(port, tls="starttls", **login))[0], read_secret)
        with pytest.raises(
            TransientError, match=f"email by 127.0.0.1:{port}: found SSLCertVerificationError"
        ):
            channel.send(message(), {}, again=False)
    assert (box.logins, box.mails) == ([], [])


def test_a_server_without_encryption_is_not_fallen_back_to(
    port: int, mailbox: Mailbox, read_secret: Reader
) -> None:
    channel = open_channel(notices(by_email(port, tls="starttls"))[0], read_secret)
    with pytest.raises(TransientError, match="SMTPNotSupportedError"):
        channel.send(message(), {}, again=False)
    assert mailbox.mails == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [("451 try later", TransientError), ("554 no spam", PermanentError), (f"550 {CANARY}", TransientError)],
)
def test_a_refusal_names_server_and_code_and_repeats_nothing(
    port: int, mailbox: Mailbox, channel: Channel, answer: str, kind: type[Exception]
) -> None:
    mailbox.answers = [answer]
    with pytest.raises(kind, match=f"email by 127.0.0.1:{port}: found code {answer[:3]}, expected") as caught:
        channel.send(message(), {}, again=False)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_wrong_password_is_not_told(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = {"user": "davy", "password": {"env": "P"}}
    with mail_server(port, "starttls", tmp_path):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
        wrong = open_channel(
            notices(by_email(port, tls="starttls", **login))[0], lambda _: SecretStr(f"{CANARY}-ü")
        )
        with pytest.raises(TransientError, match=f"email by 127.0.0.1:{port}") as caught:
            wrong.send(message(), {}, again=False)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in repr(wrong)


def test_one_unknown_recipient_keeps_the_others_from_nothing(
    mailbox: Mailbox, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refused = {"dev@shop.example"}
    with caplog.at_level(logging.WARNING):
        channel.send(message(), {}, again=False)
    assert len(mailbox.mails) == 1
    assert "1 of 2 recipients refused" in caplog.text


def test_a_server_that_is_away_is_asked_again(port: int, channel: Channel) -> None:
    with pytest.raises(TransientError, match=f"email by 127.0.0.1:{port}: found ConnectionRefusedError"):
        channel.send(message(), {}, again=False)
