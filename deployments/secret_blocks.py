"""Prefect's Secret blocks, read over its REST API: who only tells people need not import Prefect."""

from __future__ import annotations

from datetime import timedelta

import httpx
from pydantic import SecretStr

from deployments.prefect_api import api_url, credentials
from tasks.domain.errors import TransientError

ANSWER_WITHIN = timedelta(seconds=5)


def read_block(name: str) -> SecretStr:
    """The value of the Secret block *name*, as it is now.

    Raises:
        TransientError: The server stays away, or has no such block with a text in it; retried.
        InputError: What the server is to be shown is no user and password; not retried.
    """
    path = f"/block_types/slug/secret/block_documents/name/{name}"
    try:
        answer = httpx.get(
            f"{api_url()}{path}",
            params={"include_secrets": True},
            timeout=ANSWER_WITHIN.total_seconds(),
            auth=credentials(),
        )
        found = f"status {answer.status_code}"
        value = answer.json()["data"]["value"] if answer.is_success else None
    except httpx.HTTPError as error:
        value, found = None, type(error).__name__
    except (LookupError, TypeError, ValueError):
        value, found = None, "no Secret block's content"
    if not isinstance(value, str):
        msg = f"secret in block {name}: found {found}, expected a Secret block with a text at {api_url()}"
        raise TransientError(msg)
    return SecretStr(value)
