"""A webhook: JSON posted to an address.

The body is an object with these keys; a receiver should take no offence at others:

| key | what |
|---|---|
| `id` | of this message, the same at each try: a receiver that has seen it ignores it |
| `event` | `start`, `gate`, `approved`, `rejected`, `verdict`, `failure` (it goes back by itself), `trouble` (it can't yet), `end`, `digest` |
| `at` | when it happened, ISO 8601, UTC |
| `headline` | what happened and whether there is anything to do, in one line |
| `service`, `release`, `version`, `stable`, `strategy` | of the release; `stable` is null for a first version |
| `outcome` | at the end: `Promoted`, `Tried`, `RolledBack`, `Failed`, `Frozen`, `Rejected`, `Aborted`, `Superseded`; else null |
| `reason` | why it did not go on; null when it did |
| `run_url` | the run's page in Prefect; null when it is not known |
| `step`, `deadline` | `gate`: before which step, until when; `verdict`: `step` and `result` |
| `by` | `failure`: who |
| `seconds` | `end`: how long it took |
| `date`, `services` | `digest`: the night's report, instead of the release's keys |

Headers: ``X-Davy-Delivery`` is the `id`; ``X-Davy-Timestamp`` the time of this try in Unix seconds; with a
secret, ``X-Davy-Signature`` is ``sha256=`` and the hexadecimal HMAC-SHA256, keyed by the secret, of the
timestamp, a full stop and the body's bytes. A receiver compares it in constant time, and refuses old timestamps.

Any 2xx is taken as received. 400, 413 and 422 mean that this message is never wanted; everything else is
tried again, after ``Retry-After`` where there is one. Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC
from email.message import Message as Headers
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from tasks.domain.errors import DavyError, PermanentError, TransientError
from tasks.domain.notices import Webhook, web_address
from tasks.notify.base import CALL_TIMEOUT, HeldBackError, Message, SecretReader, Thread, retry_after

NEVER = (400, 413, 422)
BUSY = (429, 503)


class WebhookChannel:
    """`Channel` over HTTP. There is nothing to remember but that it has begun.

    It uses the standard library: clients that log addresses would log those that are secrets.
    """

    def __init__(self, notice: Webhook, read_secret: SecretReader) -> None:
        self._notice = notice
        self._read_secret = read_secret

    def send(self, message: Message, thread: Thread, *, again: bool) -> Thread:
        """See `Channel.send`."""
        del again
        request = self._request(message)
        opener = build_opener(_NoRedirects)
        try:
            opener.open(request, timeout=CALL_TIMEOUT.total_seconds()).close()
        except HTTPError as answer:
            with answer:
                raise self._refusal(answer.code, answer.headers) from None
        except (HTTPException, OSError, ValueError) as error:
            raise TransientError(self._said(type(error).__name__)) from None
        return thread or {"first": message.id}

    def _request(self, message: Message) -> Request:
        body, now = body_of(message), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "davy",
            "X-Davy-Delivery": message.id,
            "X-Davy-Timestamp": now,
        }
        if self._notice.secret:
            key = self._read_secret(self._notice.secret).get_secret_value()
            headers["X-Davy-Signature"] = signature(key, now, body)
        return Request(self._url(), data=body, headers=headers, method="POST")  # noqa: S310 - checked to be http(s)

    def _url(self) -> str:
        if self._notice.url_from is None:
            return str(self._notice.url)
        try:
            return web_address(self._read_secret(self._notice.url_from).get_secret_value())
        except ValueError as error:
            msg = f"webhook, secret in {self._notice.url_from}: {error}"
            raise TransientError(msg) from None

    def _refusal(self, status: int, headers: Headers) -> DavyError:
        said = self._said(f"status {status}")
        if status in BUSY:
            return HeldBackError(said, retry_after(headers.get("Retry-After")))
        return PermanentError(said) if status in NEVER else TransientError(said)

    def _said(self, found: str) -> str:
        url, kept = self._notice.url, self._notice.url_from
        where = f"address in {kept}" if url is None else urlsplit(url).hostname
        return f"webhook to {where}: found {found}, expected 2xx"


class _NoRedirects(HTTPErrorProcessor):
    """A redirect is an answer like others: what is signed for one address is not shown to another."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:
        """Take a 2xx as it is, and raise everything else."""
        if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
            raise HTTPError(request.full_url, response.status, response.reason, response.headers, response)
        answer: HTTPResponse = super().http_response(request, response)
        return answer

    https_response = http_response


def body_of(message: Message) -> bytes:
    """What is posted."""
    at = message.at.astimezone(UTC).isoformat()
    content = {"id": message.id, "at": at, "headline": message.headline, **message.fields}
    return json.dumps(content, sort_keys=True).encode()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What ``X-Davy-Signature`` holds."""
    return f"sha256={hmac.new(secret.encode(), timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
