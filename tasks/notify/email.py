"""E-mail over SMTP: plain text, one thread for each release.

Each message has an id of its own, the same at each try, so that a mail program shows one that was
sent twice once; all of a release's name the same first one (``References``).
"""

from __future__ import annotations

import hashlib
import logging
import smtplib
import ssl
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime

from pydantic import SecretStr

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.notices import Email
from tasks.notify.base import CALL_TIMEOUT, Message, SecretReader, Thread, one_line

WIDEST = 900
"""Characters of a line; mail servers take 998."""
HEADER = 250
"""Characters of a header's line: a folded subject would begin with a blank in some mail programs."""
NEVER = (552, 554)
"""Answers to a message that mean that this one is not wanted."""
log = logging.getLogger("davy.notify")


class EmailChannel:
    """`Channel` over a mail server. There is nothing to remember: all ids follow from the messages."""

    def __init__(self, notice: Email, read_secret: SecretReader) -> None:
        self._notice = notice
        self._read_secret = read_secret

    def send(self, message: Message, thread: Thread, *, again: bool) -> Thread:
        """See `Channel.send`. The server's own words are not repeated: they may hold what was sent."""
        del again
        mail = mail_of(message, self._notice, first=not thread)
        secret = self._read_secret(self._notice.password) if self._notice.password else None
        try:
            self._hand_over(mail, secret)
        except smtplib.SMTPDataError as error:
            kind = PermanentError if error.smtp_code in NEVER else TransientError
            raise kind(self._said(f"code {error.smtp_code}")) from None
        except smtplib.SMTPResponseException as error:
            raise TransientError(self._said(f"code {error.smtp_code}")) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise TransientError(self._said(type(error).__name__)) from None
        return {"first": thread.get("first", message.id)}

    def _hand_over(self, mail: EmailMessage, secret: SecretStr | None) -> None:
        server = self._connect()
        try:
            if self._notice.tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self._notice.user and secret:
                server.login(self._notice.user, secret.get_secret_value())
            refused = server.send_message(mail, self._notice.sender, self._notice.to)
            if refused:
                log.warning("%s", self._said(f"{len(refused)} of {len(self._notice.to)} recipients refused"))
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()

    def _connect(self) -> smtplib.SMTP:
        host, port, seconds = self._notice.host, self._notice.port, CALL_TIMEOUT.total_seconds()
        if self._notice.tls == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=seconds, context=ssl.create_default_context())
        return smtplib.SMTP(host, port, timeout=seconds)

    def _said(self, found: str) -> str:
        return f"email by {self._notice.host}:{self._notice.port}: found {found}, expected it to be taken"


def mail_of(message: Message, notice: Email, *, first: bool) -> EmailMessage:
    """The message as a mail.

    Args:
        first: It opens its thread.
    """
    domain = notice.sender.rpartition("@")[2]
    root = f"<{_digest(message.thread)}.thread@{domain}>"
    mail = EmailMessage(WIRE)
    mail["From"] = notice.sender
    mail["To"] = ", ".join(notice.to)
    mail["Subject"] = one_line(message.subject if first else f"Re: {message.subject}", 200)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = root if first else f"<{_digest(message.id)}@{domain}>"
    if not first:
        mail["In-Reply-To"] = mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    links = [f"{link.text}: {link.url}" for link in message.links]
    parts = [[message.headline], message.details, links]
    text = "\n\n".join("\n".join(one_line(line, WIDEST) for line in part) for part in parts if part)
    mail.set_content(f"{text}\n", cte="quoted-printable")
    mail.policy = WIRE.clone(max_line_length=HEADER)
    return mail


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
