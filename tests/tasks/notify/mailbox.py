"""A mail server that keeps what it is given."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from tests.rig.cluster.certificates import write_certificates
from tests.tasks.notify.releases import CANARY


class Mailbox:
    """Keeps mails; answers `DATA` with what it was told to, if it was.

    Attributes:
        refused: Addresses that it takes no mail for.
        password: What lets in.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.answers: list[str] = []
        self.refused: set[str] = set()
        self.password = CANARY
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: object, envelope: Envelope, address: str, _options: object
    ) -> str:
        """Whether a recipient is known."""
        if address in self.refused:
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail."""
        if self.answers:
            return self.answers.pop(0)
        self.envelopes.append(envelope)
        mail = message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
        self.mails.append(mail)
        return "250 OK"

    def authenticate(self, *login: Any) -> AuthResult:  # noqa: ANN401 - server, session, envelope and more
        """Who knows the password may come in."""
        data = login[-1]
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == self.password.encode())


@contextmanager
def mail_server(port: int, tls: str, folder: Path) -> Iterator[Mailbox]:
    """Serve on 127.0.0.1; with *tls* by the certificate ``ca.crt`` in *folder*, and only to who logs in."""
    box = Mailbox()
    context = None
    if tls != "none":
        write_certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        server_hostname="127.0.0.1",
        ssl_context=context if tls == "tls" else None,
        tls_context=context if tls == "starttls" else None,
        require_starttls=tls == "starttls",
        authenticator=box.authenticate,
        auth_required=tls != "none",
        auth_require_tls=tls == "starttls",
        ready_timeout=20,
    )
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
