"""A Prometheus server, or another that answers its queries, and what its answers mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Self

from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect

from tasks.domain.errors import DavyError, PermanentError, TransientError
from tasks.domain.model import Window

PIECE = timedelta(minutes=10)
"""What one query for raw samples asks for at most: 600 points a series at one scrape a second."""

WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a server, or of a proxy before it, that may change by themselves."""

Matrix = list[dict[str, Any]]
"""Series with ``metric``, their labels, and ``values``, pairs of seconds since 1970 and a text."""


class Server:
    """Asks one server. Nothing is tried twice here: the verbs have their own patience."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout.total_seconds()
        # Fractions of a second are fine with the HTTP client.
        self._connection = PrometheusConnect(self.url, timeout=self._timeout, retry=0)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def samples(self, selector: str, window: Window) -> Iterator[Matrix]:
        """Raw samples in *window*, with their own times, in pieces in order of time.

        Raises:
            TransientError: The server does not answer in time, or is overloaded; retried.
            PermanentError: The server refuses the query, or is no Prometheus; not retried.
        """
        pieces = -(-(window.end - window.start) // PIECE)
        cuts = [*(window.start + PIECE * number for number in range(pieces)), window.end]
        for start, end in pairwise(cuts):
            if (span := (end - start) // timedelta(milliseconds=1)) < 1:
                continue
            query = f"{selector}[{span}ms]"
            params = {"time": f"{end.timestamp():.3f}", "timeout": f"{self._timeout:.3f}"}
            yield self._ask(self._connection.custom_query, query, params)

    def points(self, query: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        """What *query* gives at *start* and every *step* after it, up to *end*.

        Raises:
            TransientError: The server does not answer in time, or is overloaded; retried.
            PermanentError: The server refuses the query, or is no Prometheus; not retried.
        """
        # The library rounds to whole seconds what it is not told here.
        params = {"start": f"{start.timestamp():.3f}", "end": f"{end.timestamp():.3f}"}
        params["timeout"] = f"{self._timeout:.3f}"
        seconds = f"{step.total_seconds():.3f}"
        return self._ask(self._connection.custom_query_range, query, start, end, seconds, params)

    def _ask(self, ask: Callable[..., Matrix], *question: object) -> Matrix:
        try:
            return ask(*question)
        except PrometheusApiClientException as error:
            raise self._refusal(str(error)) from error
        except OSError as error:  # the base of everything that the library's HTTP client raises
            msg = f"{self.url}: {type(error).__name__} {error}, expected an answer in {self._timeout:g} s"
            raise TransientError(msg) from error
        except (KeyError, TypeError) as error:
            msg = f"{self.url}: an answer without {error}, expected a Prometheus server"
            raise PermanentError(msg) from error

    def _refusal(self, answer: str) -> DavyError:
        found = re.match(r"HTTP Status Code (\d+)", answer)
        msg = f"{self.url}: {answer[:300]}, expected status 200"
        return TransientError(msg) if found and int(found[1]) in WORTH_RETRYING else PermanentError(msg)
