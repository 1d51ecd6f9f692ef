"""Who owns a field: read from the server's answer to an apply that it refuses."""

from __future__ import annotations

import json
from typing import Any

from kubernetes.client.exceptions import ApiException

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
