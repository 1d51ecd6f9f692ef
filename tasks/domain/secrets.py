"""Where a secret is kept. A service file names the place; the secret itself is never in it.

A value that stands where a place was expected may be the secret: no message ever shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from tasks.domain.parts import Part

EXPECTED = "one of {env: NAME}, {file: /path} and {block: name}, never the secret itself"
PATTERNS = {"env": r"^[A-Za-z_][A-Za-z0-9_]*$", "file": r"^/[^\r\n]+$", "block": r"^[a-z0-9-]+$"}


class Hidden:
    """Stands in messages for a value that may be a secret."""

    def __repr__(self) -> str:
        return "a value that is not shown"


class SecretPlace(Part):
    """Where a secret is read each time that it is needed: exactly one of three places."""

    env: str | None = Field(None, pattern=PATTERNS["env"])
    """Name of an environment variable of the process that needs the secret."""
    file: str | None = Field(None, pattern=PATTERNS["file"])
    """Absolute path of a file that holds nothing else; white space around it does not count."""
    block: str | None = Field(None, pattern=PATTERNS["block"])
    """Name of a Secret block in Prefect."""

    @model_validator(mode="before")
    @classmethod
    def _one(cls, found: object) -> object:
        if isinstance(hide_secret(found), Hidden):
            msg = f"found {Hidden()!r}, expected {EXPECTED}"
            raise ValueError(msg)  # noqa: TRY004 - what pydantic makes a fault of
        return found

    @property
    def kind(self) -> str:
        """Which of the three it is: ``env``, ``file`` or ``block``."""
        return next(kind for kind in PATTERNS if getattr(self, kind) is not None)

    @property
    def name(self) -> str:
        """The variable's, file's or block's name."""
        return str(getattr(self, self.kind))

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def hide_secret(found: object) -> object:
    """*found* where it names exactly one place, else something that shows nothing of it."""
    if isinstance(found, SecretPlace):
        return found
    if not isinstance(found, Mapping) or not set(found) <= set(PATTERNS):
        return Hidden()
    named = {kind: name for kind, name in found.items() if name is not None}
    fits = all(isinstance(name, str) and re.fullmatch(PATTERNS[kind], name) for kind, name in named.items())
    return found if len(named) == 1 and fits else Hidden()


SecretRef = Annotated[SecretPlace, BeforeValidator(hide_secret)]
"""A secret in a service file: ``{env: NAME}``, ``{file: /path}`` or ``{block: name}``."""
