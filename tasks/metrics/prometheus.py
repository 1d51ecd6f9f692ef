"""Metric source: a Prometheus server that scrapes Envoy, as ``infra/local/prometheus.yml`` sets it up.

Raw samples are asked for, with their own times, and differenced here. ``rate`` and
``increase`` see nothing of a series' first value, which is a whole burst of errors when the
series is born with it; and range queries fill gaps with values up to five minutes old.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect

from tasks.domain.errors import DavyError, PermanentError, TransientError
from tasks.domain.model import Slot, Window
from tasks.domain.spec import ServiceFile
from tasks.metrics.counters import METRICS, Look, Sample, Series, compare, read_look
from tasks.metrics.frame import to_frame

PIECE = timedelta(minutes=10)
"""What one query asks for at most: 600 points a series at one scrape a second, where servers allow 11,000."""

WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a server, or of a proxy before it, that may change by themselves."""

Target = tuple[str, str]
"""Job and instance: one Envoy as one scrape configuration sees it."""


class Prometheus:
    """Reads one service's series from a Prometheus server. Each Envoy must be scraped by one job only."""

    def __init__(self, service: ServiceFile) -> None:
        self._service = service.service
        self._url = (service.analysis.metrics.url or "").rstrip("/")
        self._timeout = service.analysis.metrics.timeout.total_seconds()

    def fetch(self, slots: Collection[Slot], window: Window) -> pd.DataFrame:
        """What *slots* did in *window*; see `tasks.metrics.base.MetricSource.fetch`.

        Raises:
            TransientError: The server does not answer in time, or is overloaded; retried.
            PermanentError: The server refuses the query, or is no Prometheus; not retried.
        """
        samples: list[Sample] = []
        last: dict[Target, Look] = {}
        for target, look in self._looks(slots, window):
            before = last.get(target)
            if before is None or before.at < look.at:
                samples += compare(before, look) if before else ()
                last[target] = look
        return to_frame(samples, slots)

    def _looks(self, slots: Collection[Slot], window: Window) -> Iterator[tuple[Target, Look]]:
        """Every scrape in *window*, by target, in order of time."""
        # The empty name lets the uptime pass: it tells of scrapes in which the slots had no series.
        names = f"|{self._service}/({'|'.join(slots)})(/sent|/mirror)?"
        selector = f'{{__name__=~"{"|".join(METRICS)}", envoy_cluster_name=~"{names}"}}'
        # No retries here: the verb has its own. Fractions of a second are fine with the HTTP client.
        with PrometheusConnect(self._url, timeout=self._timeout, retry=0) as server:  # type: ignore[arg-type]
            for start, end in pairwise(_cuts(window)):
                for target, scrapes in _by_scrape(self._query(server, selector, start, end)).items():
                    for at in sorted(scrapes):
                        yield target, read_look(at, scrapes[at])

    def _query(
        self, server: PrometheusConnect, selector: str, start: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        query = f"{selector}[{(end - start) // timedelta(milliseconds=1)}ms]"
        params = {"time": f"{end.timestamp():.3f}", "timeout": f"{self._timeout:.3f}"}
        try:
            result: list[dict[str, Any]] = server.custom_query(query, params=params)
        except PrometheusApiClientException as error:
            raise _refusal(self._url, str(error)) from error
        except OSError as error:  # the base of everything that the library's HTTP client raises
            msg = f"{self._url}: {type(error).__name__} {error}, expected an answer in {self._timeout:g} s"
            raise TransientError(msg) from error
        except (KeyError, TypeError) as error:
            msg = f"{self._url}: an answer without {error}, expected a Prometheus server"
            raise PermanentError(msg) from error
        return result


def _refusal(url: str, answer: str) -> DavyError:
    found = re.match(r"HTTP Status Code (\d+)", answer)
    msg = f"{url}: {answer[:300]}, expected status 200"
    return TransientError(msg) if found and int(found[1]) in WORTH_RETRYING else PermanentError(msg)


def _cuts(window: Window) -> list[datetime]:
    """Where the queries of a long window begin and end."""
    pieces = -(-(window.end - window.start) // PIECE)
    return [*(window.start + PIECE * number for number in range(pieces)), window.end]


def _by_scrape(result: list[dict[str, Any]]) -> dict[Target, dict[int, list[Series]]]:
    """Every series' raw samples, by target and time of the scrape in milliseconds."""
    scrapes: dict[Target, dict[int, list[Series]]] = defaultdict(lambda: defaultdict(list))
    for series in result:
        labels = series["metric"]
        target = scrapes[labels.get("job", ""), labels.get("instance", "")]
        for at, value in series["values"]:
            target[round(at * 1000)].append(Series(labels["__name__"], labels, float(value)))
    return scrapes
