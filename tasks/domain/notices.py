"""Who is told of a release, through what, and of which of its events."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tasks.domain.parts import Part
from tasks.domain.secrets import Hidden, SecretRef, hide_secret

HERE = ("127.0.0.1", "localhost", "::1")
"""Hosts that a secret may be sent to unencrypted."""
Address = Annotated[str, Field(pattern=r"^[!#-'*+\-./0-9=?A-Z^-~]+@[A-Za-z0-9.-]+$", max_length=254)]
"""An e-mail address, without a name."""


class Event(StrEnum):
    """What of a release can be told."""

    START = "start"
    """It has begun."""
    GATE = "gate"
    """It waits for a person's approval, or a person has decided."""
    VERDICT = "verdict"
    """A step was judged, and did not pass."""
    PASSES = "passes"
    """A step was judged, and passed."""
    END = "end"
    """It has ended, well or not."""
    FAILURE = "failure"
    """It goes back by itself, is held up on its way back, or has ended otherwise than it should."""


class _Notice(Part):
    """What all channels have."""

    model_config = ConfigDict(validate_by_alias=True, serialize_by_alias=True)

    on: tuple[Event, ...] = Field(tuple(event for event in Event if event is not Event.PASSES), min_length=1)
    """Which events are told."""


class Slack(_Notice):
    """Messages in a Slack channel, one thread for each release."""

    kind: Literal["slack"]
    channel: str = Field(pattern=r"^#?[^\s#@<>&]{1,80}$")
    """The channel's name or id; the app has to be a member of it."""
    token: SecretRef
    """The app's bot token; it needs the scope ``chat:write``, and with ``channels:history`` (``groups:history``
    in a private channel) nothing is told twice after a crash in the middle of a message."""
    api: str = "https://slack.com/api/"
    """Address of Slack's Web API."""

    @field_validator("api", mode="before")
    @classmethod
    def _encrypted(cls, api: object) -> str:
        parts = urlsplit(web_address(api))
        if parts.scheme != "https" and parts.hostname not in HERE:
            msg = f"found {parts.scheme}://{parts.hostname}, expected https"
            raise ValueError(msg)
        return parts.geturl()


class Email(_Notice):
    """Messages by e-mail, one thread for each release."""

    kind: Literal["email"]
    to: tuple[Address, ...] = Field(min_length=1)
    sender: Address = Field(alias="from")
    """The sender's address."""
    host: str = Field(pattern=r"^[A-Za-z0-9.:-]+$")
    """The mail server."""
    port: int = Field(587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; ``none`` only with a server on the same machine."""
    user: str | None = Field(None, pattern=r"^[^\r\n]+$")
    """Whom to log in as; nobody where it is left out."""
    password: SecretRef | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Email:
        if self.tls == "none" and self.host not in HERE:
            msg = f"tls: found 'none' with host {self.host!r}, expected starttls or tls"
            raise ValueError(msg)
        if (self.user is None) != (self.password is None):
            msg = f"found user {self.user!r} and password {self.password}, expected both or neither"
            raise ValueError(msg)
        return self


class Webhook(_Notice):
    """JSON posted to an address; `tasks.notify.webhook` says what is in it."""

    kind: Literal["webhook"]
    url: str | None = None
    """Where it is posted."""
    url_from: SecretRef | None = None
    """Where the address is kept, if it is a secret itself."""
    secret: SecretRef | None = None
    """What each request is signed with."""

    @field_validator("url", mode="before")
    @classmethod
    def _plain(cls, url: object) -> str | None:
        return None if url is None else web_address(url)

    @model_validator(mode="after")
    def _one(self) -> Webhook:
        if (self.url is None) == (self.url_from is None):
            found = "neither url nor url_from" if self.url is None else "both url and url_from"
            msg = f"found {found}, expected one of them"
            raise ValueError(msg)
        return self


KINDS: dict[str, type[Slack | Email | Webhook]] = {"slack": Slack, "email": Email, "webhook": Webhook}


def web_address(url: object) -> str:
    """*url*, where it can be posted to.

    Raises:
        ValueError: It is no web address, or holds a user's name; it is not shown; not retried.
    """
    if not isinstance(url, str) or not _is_web_address(url):
        msg = f"found {Hidden()!r}, expected a web address such as https://host/path without user or password"
        raise ValueError(msg)
    return url


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    printable = url.isascii() and url.isprintable() and " " not in url
    return (
        printable
        and parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and port != 0
        and "@" not in parts.netloc
    )


def _hide(found: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    """*found* without any value that may be a secret and stands where none belongs.

    YAML 1.1 reads the key ``on`` as true.
    """
    if isinstance(found, Part):
        return found
    content = (
        {"on" if key is True else key: found[key] for key in found} if isinstance(found, Mapping) else {}
    )
    model = KINDS.get(str(content.get("kind")))
    if model is None:
        return {"kind": str(content.get("kind", ""))}
    fields = {field.alias or name for name, field in model.model_fields.items()}
    return {key: _shown(key, value) if key in fields else Hidden() for key, value in content.items()}


def _shown(key: str, value: Any) -> Any:  # noqa: ANN401 - as above
    if key in ("token", "password", "url_from", "secret") and value is not None:
        return hide_secret(value)
    if key in ("url", "api") and not (value is None or (isinstance(value, str) and _is_web_address(value))):
        return Hidden()
    return value


def _hide_all(found: Any) -> Any:  # noqa: ANN401 - as above
    return found if isinstance(found, list | tuple) else Hidden()


Notice = Annotated[Annotated[Slack | Email | Webhook, Field(discriminator="kind")], BeforeValidator(_hide)]
"""One way to tell people."""
Notices = Annotated[tuple[Notice, ...], BeforeValidator(_hide_all)]
"""All of a service's."""
