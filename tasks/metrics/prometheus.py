"""Metric source: a Prometheus server that scrapes the proxies, or the servers, of a service.

Raw samples are asked for, with their own times, and differenced here. ``rate`` and
``increase`` see nothing of a series' first value, which is a whole burst of errors when the
series is born with it; and range queries fill gaps with values up to five minutes old.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace

import pandas as pd

from tasks.domain.model import Slot, Window
from tasks.domain.spec import ServiceFile
from tasks.metrics.counters import METRICS, Look, Sample, Series, compare, read_look
from tasks.metrics.frame import to_frame
from tasks.metrics.presets import PRESETS, Place, Preset
from tasks.metrics.scrapes import STARTED, UP, Scrapes, Target
from tasks.metrics.server import Matrix, Server


class Prometheus:
    """Reads one service's series from a Prometheus server. Each target must be scraped by one job only."""

    def __init__(self, service: ServiceFile) -> None:
        self._file = service
        self._service = service.service
        self._metrics = service.analysis.metrics

    def fetch(self, slots: Collection[Slot], window: Window) -> pd.DataFrame:
        """What *slots* did in *window*; see `tasks.metrics.base.MetricSource.fetch`.

        Raises:
            TransientError: The server does not answer in time, or is overloaded; retried.
            PermanentError: The server refuses the query, or is no Prometheus; not retried.
        """
        preset = PRESETS.get(self._metrics.preset)
        with Server(self._metrics.url or "", self._metrics.timeout) as server:
            if preset is None:
                samples = self._of_our_envoy(server, slots, window)
            else:
                samples = self._of_preset(server, preset, slots, window)
            return to_frame(samples, slots)

    def _of_our_envoy(self, server: Server, slots: Collection[Slot], window: Window) -> Iterator[Sample]:
        """What Davy's own Envoy counts, as ``infra/local/prometheus.yml`` has it scraped."""
        # The empty name lets the uptime pass: it tells of scrapes in which the slots had no series.
        names = f"|{self._service}/({'|'.join(slots)})(/sent|/mirror)?"
        selector = f'{{__name__=~"{"|".join(METRICS)}", envoy_cluster_name=~"{names}"}}'
        last: dict[Target, Look] = {}
        for series in server.samples(selector, window):
            for target, scrapes in _by_scrape(series).items():
                for look in (read_look(at, scrapes[at]) for at in sorted(scrapes)):
                    before = last.get(target)
                    if before is None or before.at < look.at:
                        yield from compare(before, look) if before else ()
                        last[target] = look

    def _of_preset(
        self, server: Server, preset: Preset, slots: Collection[Slot], window: Window
    ) -> Iterator[Sample]:
        """What *preset*'s series say."""
        scrapes = Scrapes()
        for slot in slots:
            for selector in preset.selectors(self._metrics, Place.of(self._file, slot)):
                for series in server.samples(selector, window):
                    scrapes.read_slot(slot, series)
        if scrapes.targets:
            for series in server.samples(_health_of(scrapes.targets), window):
                scrapes.read_health(series)
        label = self._metrics.code_label
        yield from scrapes.samples(
            self._service, replace(preset, codes=(label,)) if label else preset, window
        )


def _health_of(targets: Collection[Target]) -> str:
    """Selects the series that tell of *targets* themselves."""
    jobs, instances = (
        json.dumps("|".join(sorted({re.escape(name) for name in names})))
        for names in zip(*targets, strict=True)
    )
    return f'{{__name__=~"{UP}|{STARTED}", job=~{jobs}, instance=~{instances}}}'


def _by_scrape(result: Matrix) -> dict[Target, dict[int, list[Series]]]:
    """Every series' raw samples, by target and time of the scrape in milliseconds."""
    scrapes: dict[Target, dict[int, list[Series]]] = defaultdict(lambda: defaultdict(list))
    for series in result:
        labels = series["metric"]
        target = scrapes[labels.get("job", ""), labels.get("instance", "")]
        for at, value in series["values"]:
            target[round(at * 1000)].append(Series(labels["__name__"], labels, float(value)))
    return scrapes
