"""Telling people: channels by the kind that a service file uses; each is imported when one is opened."""

from __future__ import annotations

from pkgutil import resolve_name

from tasks.domain.notices import Email, Slack, Webhook
from tasks.notify.base import Channel, SecretReader

CHANNELS = {
    "slack": "tasks.notify.slack:SlackChannel",
    "email": "tasks.notify.email:EmailChannel",
    "webhook": "tasks.notify.webhook:WebhookChannel",
}


def open_channel(notice: Slack | Email | Webhook, read_secret: SecretReader) -> Channel:
    """The channel that *notice* describes; it reads its secrets each time that it needs them."""
    channel: Channel = resolve_name(CHANNELS[notice.kind])(notice, read_secret)
    return channel
