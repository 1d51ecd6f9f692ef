"""What the receiver answers, and how its OpenAPI document says so."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from deployments.webhook_payloads import GenericMerge
from deployments.webhook_settings import Sender


class Asked(BaseModel):
    """A release that an event asked for."""

    service: str
    sha: str
    version: str
    state: Literal["waiting", "ready"]
    """``waiting`` for its image, or ``ready`` for Prefect."""


class Answer(BaseModel):
    """What became of an event."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["accepted", "duplicate", "nothing"]
    """``accepted`` is on disk; a ``duplicate`` was before; ``nothing`` is released by it."""
    reason: str = ""
    """Why nothing new is released."""
    releases: list[Asked] = []
    """Those that are new."""


class Refusal(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    error: str
    field: str | None = None
    """What is wrong in the body, dotted."""


class Health(BaseModel):
    """The receiver's state."""

    status: Literal["ok"]
    releases: dict[str, int]


class Refused(Exception):  # noqa: N818 - an answer
    """A request is refused.

    Args:
        status: The HTTP status.
        field: What is wrong in the body.
    """

    def __init__(
        self, status: int, message: str, *, field: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.status = status
        self.field = field
        self.headers = headers or {}
        super().__init__(message)


_REFUSALS = {
    400: "The body, or a header, is not what such an event has",
    401: "Not signed with a secret of this sender",
    403: "This sender has no secret here",
    408: "The body took too long to arrive",
    413: "The body is too large",
    415: "The body is not JSON",
    429: "Too many requests from this address",
    503: "Can't be kept now",
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Answer, "description": "A duplicate, or nothing is released"},
    202: {"model": Answer, "description": "Accepted, and on disk"},
    **{status: {"model": Refusal, "description": text} for status, text in _REFUSALS.items()},
}
"""Every answer to an event."""

_HEADERS: dict[Sender, dict[str, str]] = {
    "github": {
        "X-GitHub-Event": "The event's kind; 'push' and 'pull_request' can release something",
        "X-GitHub-Delivery": "The event's id",
        "X-Hub-Signature-256": "'sha256=' and the HMAC-SHA256 of the body in hexadecimal digits",
    },
    "gitlab": {
        "X-Gitlab-Event": "The event's kind; 'Push Hook' and 'Merge Request Hook' can release something",
        "X-Gitlab-Token": "The secret token",
    },
    "generic": {
        "X-Davy-Delivery": "The event's id, the same when it is sent again",
        "X-Davy-Timestamp": "Now, in whole seconds since 1970 (UTC)",
        "X-Davy-Signature": "'sha256=' and the HMAC-SHA256 of delivery, timestamp and body, joined by dots",
    },
}
_OPTIONAL: dict[Sender, dict[str, str]] = {
    "gitlab": {"Idempotency-Key": "The event's id (GitLab 17.4 and later)"}
}


def headers_of(sender: Sender) -> list[dict[str, Any]]:
    """The headers that *sender* sends, for the OpenAPI document."""
    known = [(name, text, True) for name, text in _HEADERS[sender].items()]
    known += [(name, text, False) for name, text in _OPTIONAL.get(sender, {}).items()]
    return [
        {"name": name, "in": "header", "required": needed, "description": text, "schema": {"type": "string"}}
        for name, text, needed in known
    ]


def body_of(sender: Sender) -> dict[str, Any]:
    """The body that *sender* sends, for the OpenAPI document."""
    schema = GenericMerge.model_json_schema() if sender == "generic" else {"type": "object"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
