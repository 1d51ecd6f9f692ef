"""The receiver's settings, and the secrets that tell its senders from everybody else."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

from limits import RateLimitItem, parse
from pydantic import ByteSize, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.domain.errors import InputError
from tasks.domain.parts import PositiveDuration

Sender = Literal["github", "gitlab", "generic"]
SENDERS: Mapping[Sender, str] = {
    "github": "github_secret",
    "gitlab": "gitlab_token",
    "generic": "generic_secret",
}
"""Which setting has a sender's secrets."""
FRESH = 300
"""Seconds by which a generic sender's clock may differ from ours."""
PREFIX = "DAVY_WEBHOOK_"


class WebhookSettings(BaseSettings):
    """Set by environment variables of the same name with ``DAVY_WEBHOOK_`` before it.

    A secret may hold several, divided by commas or lines, while they are being changed. One with ``_file`` is read
    at each event, so that a mounted one may change while the receiver runs.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True)

    github_secret: SecretStr = SecretStr("")
    github_secret_file: Path | None = None
    gitlab_token: SecretStr = SecretStr("")
    gitlab_token_file: Path | None = None
    generic_secret: SecretStr = SecretStr("")
    generic_secret_file: Path | None = None
    body_limit: ByteSize = Field(ByteSize(5 * 2**20), gt=0)
    """How large a body may be (``5MiB``)."""
    body_within: PositiveDuration = timedelta(seconds=10)
    """How long a body may take to arrive."""
    rate_limit: str = "3000/minute"
    """How many requests one address may send."""
    remember: PositiveDuration = timedelta(days=7)
    """How long delivery ids are kept; that a commit was released is kept for ever."""
    image_poll: PositiveDuration = timedelta(seconds=10)
    """How long between two looks for an image."""
    docker_config: Path | None = None
    """A ``config.json`` of Docker with the registries' credentials."""
    show_deliveries: bool = False
    """Answer ``GET /deliveries`` with the last ones; to whoever can reach the port."""

    @field_validator("rate_limit")
    @classmethod
    def _a_rate(cls, rate: str) -> str:
        try:
            parse(rate)
        except ValueError as error:
            msg = f"found {rate!r}, expected a rate such as '3000/minute'"
            raise ValueError(msg) from error
        return rate

    @property
    def rate(self) -> RateLimitItem:
        """`rate_limit`, parsed."""
        return parse(self.rate_limit)

    def secrets_of(self, sender: Sender) -> tuple[bytes, ...]:
        """The secrets that *sender* may use now; empty for a sender that is refused.

        Raises:
            InputError: Its file can't be read; not retried.
        """
        name = SENDERS[sender]
        given: SecretStr = getattr(self, name)
        file: Path | None = getattr(self, f"{name}_file")
        text = given.get_secret_value()
        if file is not None:
            try:
                text = f"{text}\n{file.read_text()}"
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(
                    f"{PREFIX}{name}_file".upper(), str(file), "a file that can be read"
                ) from error
        return tuple(part.strip().encode() for part in re.split(r"[,\n]", text) if part.strip())


def is_signed(sender: Sender, headers: Mapping[str, str], body: bytes, secrets: tuple[bytes, ...]) -> bool:
    """Whether one of *secrets* made the request; the comparison takes the same time wherever they differ."""
    if sender == "gitlab":
        return _is_one_of(_header(headers, "x-gitlab-token"), secrets)
    signature, signed = _header(headers, "x-hub-signature-256"), body
    if sender == "generic":
        if not is_fresh(headers):
            return False
        delivery, moment = _header(headers, "x-davy-delivery"), _header(headers, "x-davy-timestamp")
        signature, signed = _header(headers, "x-davy-signature"), b".".join((delivery, moment, body))
    return _is_one_of(signature, tuple(sign(secret, signed) for secret in secrets))


def is_fresh(headers: Mapping[str, str]) -> bool:
    """Whether a generic sender's timestamp is one of now (whole seconds since 1970, in UTC)."""
    moment = headers.get("x-davy-timestamp", "")
    return bool(re.fullmatch(r"[0-9]{1,12}", moment)) and abs(time.time() - int(moment)) <= FRESH


def sign(secret: bytes, content: bytes) -> bytes:
    """A signature as GitHub's and generic senders write it."""
    return b"sha256=" + hmac.new(secret, content, hashlib.sha256).hexdigest().encode()


def _is_one_of(given: bytes, right: tuple[bytes, ...]) -> bool:
    return any([hmac.compare_digest(given, one) for one in right])  # noqa: C419 - all are compared, always


def _header(headers: Mapping[str, str], name: str) -> bytes:
    return headers.get(name, "").encode("latin-1", "replace")
