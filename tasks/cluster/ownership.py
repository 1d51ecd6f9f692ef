"""Who owns a field, as the API server keeps it."""

from __future__ import annotations

import json
from typing import Any

from kubernetes.client.exceptions import ApiException

from tasks.cluster.labels import MANAGER

_CONFLICT = "FieldManagerConflict"
_EDITED = " using "
"""In the server's words, a manager that edited a field is named with the version it used, one that applies
it is not."""


def applied_by_others(error: BaseException | None) -> str | None:
    """Which fields other tools apply, in words; empty where they were only edited by others.

    Returns:
        None where *error* is not about fields at all.
    """
    causes = [cause for cause in _causes(error) if cause.get("reason") == _CONFLICT]
    if not causes:
        return None
    applied = [cause for cause in causes if _EDITED not in str(cause.get("message"))]
    return ", ".join(f"{cause.get('field')} applied by {_manager(cause)}" for cause in applied)


def _manager(cause: dict[str, Any]) -> str:
    return str(cause.get("message")).removeprefix("conflict with ")


def _causes(error: BaseException | None) -> list[dict[str, Any]]:
    if not isinstance(error, ApiException):
        return []
    try:
        causes: list[dict[str, Any]] = json.loads(error.body or "")["details"]["causes"]
    except (ValueError, KeyError, TypeError):
        return []
    return causes


def applied_by(found: dict[str, Any], *path: str) -> str | None:
    """Which other tool applies a field by server-side apply; None where none does.

    Args:
        path: The field's keys from the top; an item of a list as ``k:{"name":"app"}``.
    """
    for entry in found["metadata"].get("managedFields") or []:
        if entry.get("operation") != "Apply" or entry.get("manager") == MANAGER:
            continue
        here: Any = entry.get("fieldsV1", {})
        for key in path:
            here = here.get(key if key.startswith("k:") else f"f:{key}") if here is not None else None
        if here is not None:
            return str(entry["manager"])
    return None


def disowned(found: dict[str, Any]) -> dict[str, Any] | None:
    """*found* without a word on what Davy wrote, once that is given back: the next tool that applies it meets nobody.

    Returns:
        None where nothing is to be changed.
    """
    owners = found["metadata"].get("managedFields") or []
    left = [one for one in owners if one.get("manager") != MANAGER]
    if not left or left == owners:
        return None
    return found | {"metadata": found["metadata"] | {"managedFields": left}}
