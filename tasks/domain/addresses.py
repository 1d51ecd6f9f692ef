"""Web addresses in service files: they stand in parameters, reports and messages, so they hold no secret."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field


def _without_user(found: object) -> object:
    if isinstance(found, str) and "@" in found.partition("://")[2].partition("/")[0]:
        msg = "found an address with user or password, expected one without"
        raise ValueError(msg)
    return found


PlainUrl = Annotated[str, Field(pattern=r"^https?://"), BeforeValidator(_without_user)]
"""A web address that names nobody; one that does is refused and not shown."""
