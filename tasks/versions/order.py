"""Which of several versions is the newest: semantic versions, else as Python orders its packages (PEP 440)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from packaging.version import InvalidVersion
from packaging.version import Version as Pep440
from semver import Version as Semver

from tasks.domain.versions import SEMVER


@dataclass(frozen=True)
class Tag:
    """A tag that is a version.

    Attributes:
        name: As it stands in its source.
        compared: The part of it that is compared.
    """

    name: str
    compared: str


def semantic(text: str) -> Semver | None:
    """A semantic version, also with ``v`` before it, or without minor and patch; None for anything else."""
    try:
        return Semver.parse(text.removeprefix("v"), optional_minor_and_patch=True)
    except ValueError:
        return None


def _python(text: str) -> Pep440 | None:
    try:
        return Pep440(text)
    except InvalidVersion:
        return None


def matching(names: Iterable[str], pattern: str) -> list[Tag]:
    """Those of *names* that *pattern* takes for versions."""
    if pattern == SEMVER:
        return [Tag(name, name) for name in names if semantic(name)]
    found = ((name, re.fullmatch(pattern, name)) for name in names)
    return [Tag(name, match.groupdict().get("version") or name) for name, match in found if match]


def newest(tags: Iterable[Tag], *, prereleases: bool) -> Tag | None:
    """The highest version; of equal ones, that by name. What is no version in its order is passed over.

    They are semantic versions where all are, else versions by PEP 440.
    """
    tags = list(tags)
    parse: Callable[[str], Any] = semantic if all(semantic(tag.compared) for tag in tags) else _python
    known = [(key, tag.name, tag) for tag in tags if (key := parse(tag.compared)) is not None]
    stays = [one for one in known if prereleases or not _is_prerelease(one[0])]
    return max(stays, key=lambda one: one[:2])[2] if stays else None


def is_prerelease(text: str) -> bool:
    """Whether *text* is a version of which its maker says that it is not ready."""
    return _is_prerelease(semantic(text) or _python(text))


def _is_prerelease(key: Semver | Pep440 | None) -> bool:
    return key.is_prerelease if isinstance(key, Pep440) else bool(key and key.prerelease)


def is_older(version: str, than: str, pattern: str = SEMVER) -> bool:
    """Whether both are versions that can be compared, and *version* is the older one.

    Args:
        pattern: How the part to be compared is found; a version that it does not match is compared whole.
    """
    one, other = (_compared(text, pattern) for text in (version, than))
    for parse in (semantic, _python):
        keys: tuple[Any, Any] = parse(one), parse(other)
        if None not in keys:
            return bool(keys[0] < keys[1])
    return False


def _compared(text: str, pattern: str) -> str:
    tags = matching([text], pattern)
    return tags[0].compared if tags else text
