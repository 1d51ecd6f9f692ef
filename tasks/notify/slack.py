"""Slack, by its own Web API: a webhook knows no threads.

A release's first message opens its thread; the others are replies. What calls for a person is shown
in the channel, too, and the end is written over the first message, so that the channel alone tells
how each release went.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from http.client import HTTPException
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse

from tasks.domain.errors import DavyError, PermanentError, TransientError
from tasks.domain.notices import Slack
from tasks.notify.base import (
    CALL_TIMEOUT,
    HeldBackError,
    Link,
    Message,
    SecretReader,
    Thread,
    one_line,
    retry_after,
)

SECTION = 2900
"""Characters of a block's text; Slack takes 3,000."""
BLOCKS = 40
"""Blocks of a message; Slack takes 50."""
SKEW = timedelta(minutes=5)
"""How much Slack's clock may be behind ours."""
RATE_LIMITED = 429
NEVER = ("msg_too_long", "msg_blocks_too_long", "no_text", "invalid_blocks", "metadata_too_large")
"""Errors that are about the message itself."""
NO_ANSWER = (AttributeError, LookupError, TypeError)
"""What the client raises where JSON of another shape comes back than Slack's."""
THREAD_GONE = ("thread_not_found", "message_not_found", "cannot_reply_to_message")

_silent = logging.getLogger("davy.notify.slack_sdk")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class SlackChannel:
    """`Channel` over a Slack channel.

    A thread is remembered as ``channel`` (its id), ``ts`` and ``headline`` of its first message.
    """

    def __init__(self, notice: Slack, read_secret: SecretReader) -> None:
        self._notice = notice
        self._read_secret = read_secret

    def send(self, message: Message, thread: Thread, *, again: bool) -> Thread:
        """See `Channel.send`."""
        token = self._read_secret(self._notice.token).get_secret_value()
        seconds = int(CALL_TIMEOUT.total_seconds())
        client = WebClient(
            token, base_url=self._notice.api, timeout=seconds, logger=_silent, retry_handlers=[]
        )
        if thread and message.event == "end":
            self._write_over_first(client, message, thread)
        if again and (found := self._find(client, message, thread)):
            return found
        return self._post(client, message, thread)

    def _post(self, client: WebClient, message: Message, thread: Thread) -> Thread:
        content = {
            "text": fit(message.headline),
            "blocks": blocks_of(message),
            "metadata": {"event_type": "davy_message", "event_payload": {"id": message.id}},
            "unfurl_links": False,
        }
        if thread:
            try:
                where = {"thread_ts": thread["ts"], "reply_broadcast": message.is_call}
                self._call(client.chat_postMessage, channel=thread["channel"], **where, **content)
            except _ThreadGoneError:
                pass
            else:
                return thread
        answer = self._call(client.chat_postMessage, channel=self._notice.channel, **content)
        if not (answer.get("channel") and answer.get("ts")):
            msg = f"slack {self._notice.channel}: found no channel and ts in the answer, expected both"
            raise TransientError(msg)
        return _thread(str(answer["channel"]), str(answer["ts"]), message.headline)

    def _write_over_first(self, client: WebClient, message: Message, thread: Thread) -> None:
        """Let the first message tell the end; where Slack refuses that, the reply tells it alone."""
        began = one_line(f"It began: {thread['headline']}", 600)
        blocks = [*blocks_of(message), {"type": "context", "elements": [_text(fit(began))]}]
        where = {"channel": thread["channel"], "ts": thread["ts"]}
        try:
            self._call(client.chat_update, **where, text=fit(message.headline), blocks=blocks)
        except _RefusedError:
            return

    def _find(self, client: WebClient, message: Message, thread: Thread) -> Thread | None:
        """The thread with *message* in it, if an earlier try got so far and the app may look."""
        since = f"{(message.at - SKEW).timestamp():.6f}"
        asked: dict[str, Any] = {"oldest": since, "include_all_metadata": True, "limit": 200}
        try:
            if thread:
                place = {"channel": thread["channel"], "ts": thread["ts"]}
                answer = self._call(client.conversations_replies, **place, **asked)
            else:
                answer = self._call(client.conversations_history, channel=self._notice.channel, **asked)
        except _RefusedError:
            return None
        for one in answer.get("messages") or ():
            if one.get("metadata", {}).get("event_payload", {}).get("id") == message.id:
                return thread or _thread(self._notice.channel, str(one["ts"]), message.headline)
        return None

    def _call(self, method: Callable[..., SlackResponse], **arguments: Any) -> SlackResponse:  # noqa: ANN401 - as Slack has them
        try:
            return method(**arguments)
        except SlackApiError as error:
            raise self._error(error) from None
        except (SlackClientError, HTTPException, OSError, ValueError, *NO_ANSWER) as error:
            msg = f"slack {self._notice.channel}: gave {type(error).__name__}, expected an answer"
            raise TransientError(msg) from None

    def _error(self, error: SlackApiError) -> DavyError:
        response: Any = error.response
        code = str(response.get("error"))
        code = code if re.fullmatch(r"[a-z_]{1,60}", code) else f"status {response.status_code}"
        msg = f"slack {self._notice.channel}: found {code}, expected ok"
        if response.status_code == RATE_LIMITED:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return HeldBackError(msg, retry_after(headers.get("retry-after")))
        if code in THREAD_GONE:
            return _ThreadGoneError(msg)
        return PermanentError(msg) if code in NEVER else _RefusedError(msg)


class _RefusedError(TransientError):
    """Slack has said no, for a reason that a person may remove: an app that is no member, a token ..."""


class _ThreadGoneError(_RefusedError):
    """Somebody has deleted the thread."""


def blocks_of(message: Message) -> list[dict[str, Any]]:
    """The message as Slack's blocks: what happened in bold, then the details, then the links."""
    links = " · ".join(_link(link) for link in message.links)
    sections = [
        f"*{fit(message.headline, SECTION - 2)}*",
        *_packed(message.details),
        *([links] if links else []),
    ]
    return [{"type": "section", "text": _text(section)} for section in sections[:BLOCKS]]


def fit(text: str, longest: int = SECTION) -> str:
    """*text* as Slack shows it as it is, at most *longest* characters with all that stands for one."""
    line = one_line(text, longest)
    while len(shown := line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")) > longest:
        line = one_line(line, len(line) * 4 // 5)
    return shown


def _packed(lines: Iterable[str]) -> list[str]:
    """Lines in as few texts as they fit in."""
    texts: list[str] = []
    for line in map(fit, lines):
        if texts and len(texts[-1]) + len(line) < SECTION:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return texts


def _link(link: Link) -> str:
    return f"<{fit(link.url).replace('|', '%7C')}|{fit(link.text)}>"


def _text(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def _thread(channel: str, ts: str, headline: str) -> Thread:
    return {"channel": channel, "ts": ts, "headline": headline}
