"""One event: whether it may be believed, what it tells, and what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time

from fastapi import Request
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import ClientDisconnect

from deployments.webhook_answers import Answer, Asked, Refused
from deployments.webhook_payloads import Nothing, read_generic, read_github, read_gitlab
from deployments.webhook_services import ServiceFolder, releases_of
from deployments.webhook_settings import Sender, WebhookSettings, is_signed
from deployments.webhook_spool import Release, Spool
from tasks.domain.errors import InputError
from tasks.domain.merges import Merge

ALL_BODIES = 64 * 2**20
"""Bytes of bodies that may be in memory at the same time."""
LONGEST_ID = 200
REASONS = 5
"""How many services say why an event releases nothing of theirs."""
log = logging.getLogger("davy.webhooks")


class Receiver:
    """Takes events: those of known senders that release something are in the spool when they are answered."""

    def __init__(self, services: ServiceFolder, spool: Spool, options: WebhookSettings) -> None:
        self._services = services
        self._spool = spool
        self._options = options
        self._rate = options.rate
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._held = 0

    async def receive(self, sender: Sender, request: Request) -> Answer:
        """What becomes of an event.

        Raises:
            Refused: Nothing does; the sender is told why.
            TransientError: It can't be kept now; the sender may send it again.
        """
        await self._count(request)
        secrets = self._secrets(sender)
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refused(415, "content type: found a form, expected application/json")
        held = bytearray()
        try:
            await self._read(request, held)
            body = bytes(held)
            if not is_signed(sender, request.headers, body, secrets):
                log.warning("%s: found an event that is not signed, from %s", sender, _address(request))
                raise Refused(
                    401, f"{sender}: found a missing, wrong or old signature, expected a known sender's"
                )
            delivery, told = self._understand(sender, request, body)
        finally:
            self._held -= len(held)
        return await asyncio.to_thread(self._take, sender, delivery, told)

    async def _count(self, request: Request) -> None:
        address = _address(request)
        if await self._limiter.hit(self._rate, address):
            return
        window = await self._limiter.get_window_stats(self._rate, address)
        after = max(1, math.ceil(window.reset_time - time.time()))
        message = f"{address}: found more requests than {self._rate}, expected fewer"
        raise Refused(429, message, headers={"Retry-After": str(after)})

    def _secrets(self, sender: Sender) -> tuple[bytes, ...]:
        try:
            secrets = self._options.secrets_of(sender)
        except InputError as error:
            log.error("%s", error)  # noqa: TRY400 - the message is made for people
            secrets = ()
        if not secrets:
            raise Refused(
                403, f"{sender}: found no secret for this sender, expected one; its events are refused"
            )
        return secrets

    async def _read(self, request: Request, held: bytearray) -> None:
        """Read the body into *held*, no more of it than there is room for."""
        limit = self._options.body_limit
        too_large = Refused(413, f"body: found more than {limit} bytes, expected at most that")
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and int(length) > limit:
            raise too_large
        try:
            async with asyncio.timeout(self._options.body_within.total_seconds()):
                async for chunk in request.stream():
                    if len(held) + len(chunk) > limit:
                        raise too_large
                    if self._held + len(chunk) > ALL_BODIES:
                        raise Refused(503, "bodies: found too many at once", headers={"Retry-After": "1"})
                    self._held += len(chunk)
                    held += chunk
        except TimeoutError:
            raise Refused(408, "body: found a part of it, expected all of it in time") from None
        except ClientDisconnect:
            raise Refused(400, "body: found a part of it, expected all of it") from None

    def _understand(self, sender: Sender, request: Request, body: bytes) -> tuple[str, Merge | Nothing]:
        try:
            delivery = _delivery(sender, request, body)
            if sender == "github":
                return delivery, read_github(_event(request, "X-GitHub-Event"), body)
            if sender == "gitlab":
                return delivery, read_gitlab(_event(request, "X-Gitlab-Event"), body)
            return delivery, read_generic(body)
        except InputError as error:
            raise Refused(400, str(error), field=error.field) from error

    def _take(self, sender: Sender, delivery: str, told: Merge | Nothing) -> Answer:
        """Keep what releases something; in a thread, since a disk takes its time."""
        if self._spool.has_accepted(sender, delivery):
            return Answer(status="duplicate", reason="this delivery was accepted before")
        releases, reasons = ([], [told.reason]) if isinstance(told, Nothing) else self._asked(told)
        if not releases:
            reason = "; ".join(reasons[:REASONS]) or "no service file has on_merge"
            self._spool.note(sender, delivery, reason)
            return Answer(status="nothing", reason=reason)
        new = self._spool.accept(sender, delivery, releases)
        if not new:
            names = ", ".join(release.service for release in releases)
            return Answer(status="duplicate", reason=f"this commit was accepted before for {names}")
        for release in new:
            log.info("%s: accepted, version %s, %s", release.key, release.version, release.state)
        return Answer(status="accepted", releases=[_asked(release) for release in new])

    def _asked(self, merge: Merge) -> tuple[list[Release], list[str]]:
        return releases_of(merge, self._services.services())


def _asked(release: Release) -> Asked:
    return Asked.model_validate(release.to_json())


def _delivery(sender: Sender, request: Request, body: bytes) -> str:
    """What is the same when a sender sends an event again.

    Raises:
        InputError: There is none, or an odd one; not retried.
    """
    name = {"github": "X-GitHub-Delivery", "gitlab": "Idempotency-Key", "generic": "X-Davy-Delivery"}[sender]
    found = request.headers.get(name)
    if found is None and sender == "gitlab":  # before 17.4 it sends none, but the same body
        return hashlib.sha256(body).hexdigest()
    if not found or len(found) > LONGEST_ID or not found.isprintable():
        raise InputError(name, found and found[:LONGEST_ID], f"an id of at most {LONGEST_ID} characters")
    return found


def _event(request: Request, name: str) -> str:
    """The kind of an event.

    Raises:
        InputError: There is none; not retried.
    """
    if not (found := request.headers.get(name)):
        raise InputError(name, found, "the kind of the event")
    return found


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
