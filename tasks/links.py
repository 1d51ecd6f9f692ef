"""Approvers' links: signed, for one person, one gate and one plan, and good for one decision."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer

from tasks.domain.errors import InputError
from tasks.domain.settings import settings
from tasks.journal import Journal, journal_of
from tasks.record import Record

_SALT = "davy approval"
_BYTES = 32


@dataclass(frozen=True)
class Link:
    """Who may decide by it, and on what.

    Attributes:
        plan: The hash of the plan that it was made for.
    """

    service: str
    release: str
    point: str
    plan: str
    approver: str

    @property
    def journal(self) -> Journal:
        """The release's journal."""
        return journal_of(self.service, self.release)

    @property
    def url(self) -> str:
        """Where the approver decides. Whoever has it can decide in their name."""
        parts = [self.service, self.release, self.point, self.plan, self.approver]
        return f"{settings().approvals}/approve/{_signer().dumps(parts)}"

    def is_used(self, record: Record) -> bool:
        """Whether the approver has decided by it already; a hold leaves it open."""
        return any(
            decision.verified and decision.by == self.approver and decision.choice != "hold"
            for decision in record.decisions
        )


def links_at(record: Record) -> list[Link]:
    """A link for each approver of the gate that the release waits at; none where it waits at none."""
    gate = record.gate
    if gate is None:
        return []
    service = record.service.service
    return [
        Link(service, record.release, gate.point, gate.plan, approver) for approver in gate.terms.approvers
    ]


def link_for(approver: str, record: Record) -> str | None:
    """The address of *approver*'s own link to the gate that the release waits at."""
    return next((link.url for link in links_at(record) if link.approver == approver), None)


def read_link(token: str) -> Link:
    """The link that a token stands for.

    Raises:
        InputError: It was not made here, or was changed; not retried.
    """
    try:
        return Link(*_signer().loads(token))
    except (BadSignature, TypeError) as error:
        raise InputError("link", "one that was not signed here", "an approver's link, whole") from error


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(_key(), salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256})


def _key() -> bytes:
    """Read the key, which only this system's user can; make it where there is none."""
    path = settings().approvals_key
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
    return path.read_bytes()
