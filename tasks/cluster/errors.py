"""What a Kubernetes API server, or the way to it, answers with: as Davy's errors.

| answer | error |
|---|---|
| none in time, none at all, a broken one, 408, 409, 429, 500 to 504 | `TransientError` |
| 404 where the object must be there | `GoneError` |
| 401, and 403 for want of a role | `ForbiddenError` |
| 405, 415, 422 and all others | `PermanentError` |

Messages begin with the object: ``Kind/namespace/name``.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic.exceptions import DynamicApiError
from urllib3.exceptions import HTTPError

from tasks.domain.errors import DavyError, ForbiddenError, PermanentError, TransientError

TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""What the same call may get past later."""
FAILURES = (ApiException, HTTPError, OSError, ConfigException)
"""All that a call may raise."""
_LONGEST = 500


def mapped(error: Exception, subject: str, verb: str) -> DavyError:
    """*error* of a call as one of Davy's; `raise ... from error` is the caller's.

    Args:
        subject: The object, as `subject_of` names it.
        verb: What was tried: ``get``, ``patch`` ...
    """
    if not isinstance(error, ApiException) or not error.status:
        words = str(error) or type(error).__name__
        return TransientError(f"{subject}: {verb}: {words[:_LONGEST]}, expected the API server to answer")
    if error.status == HTTPStatus.UNAUTHORIZED:
        _forget_words(error)
    said = said_by(error)
    if error.status == HTTPStatus.FORBIDDEN and not _is_refused_for_other_reasons(error):
        return ForbiddenError(
            f"{subject}: found no permission to {verb} it ({said}), expected a role that has it"
        )
    if error.status == HTTPStatus.UNAUTHORIZED:
        return ForbiddenError(
            f"{subject}: {verb}: found the credentials refused ({said}), expected valid ones"
        )
    kind = TransientError if error.status in TRANSIENT else PermanentError
    return kind(f"{subject}: {verb}: {error.status} {said}, expected the API server to do it")


def _forget_words(refusal: BaseException) -> None:
    """Who refuses credentials may repeat them, and tracebacks, which logs hold, show all that was said."""
    error: BaseException | None = refusal
    while error is not None:
        if isinstance(error, ApiException):
            error.reason, error.headers, error.body = "Unauthorized", None, None
        if isinstance(error, DynamicApiError):
            error.original_traceback = ""
        error = error.__cause__ or error.__context__


def said_by(error: ApiException) -> str:
    """The server's own words, on one line."""
    try:
        words = str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        words = str(error.reason or "no reason given")
    return " ".join(words.split())[:_LONGEST]


def status_of(error: BaseException | None) -> int:
    """The HTTP status; 0 where there was no answer."""
    return int(error.status or 0) if isinstance(error, ApiException) else 0


def _is_refused_for_other_reasons(error: ApiException) -> bool:
    """Quotas, admission and namespaces that are going away answer 403, too."""
    said = said_by(error)
    return "exceeded quota" in said or "being terminated" in said or "admission webhook" in said
