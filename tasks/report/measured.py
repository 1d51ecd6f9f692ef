"""Each metric of a release over all its verdicts: what was measured, allowed and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from tasks.domain.analysis import Limit
from tasks.domain.model import Result
from tasks.report.judged import Compared, Judged, base
from tasks.report.series import DRAWABLE, Curve, Role, Spread, curves_of, join, spread_of

USUAL = ("error_rate", "latency_p99", "request_rate")
"""Shown also when nothing was said of them."""


@dataclass(frozen=True)
class Level:
    """What a judge found over a stretch of time."""

    since: datetime
    until: datetime
    value: float


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric of the release.

    Attributes:
        result: The worst that was said of it; None when nothing was.
        decided: It took the release back.
        levels: What was judged of the new version.
        compared: Beside which it was held last.
    """

    name: str
    result: Result | None
    decided: bool
    limit: Limit | None
    curves: Mapping[Role, Curve]
    levels: tuple[Level, ...]
    spreads: Mapping[Role, Spread]
    compared: tuple[Compared, ...]


def metrics_of(
    judged: Sequence[Judged], deciding: Judged | None, roles: Mapping[str, Role]
) -> tuple[Metric, ...]:
    """Every metric that was judged or that can be drawn, the one that decided first."""
    counts = join((frame for one in judged for frame in one.frames), roles)
    named = [base(finding.metric) for one in judged for finding in one.verdict.findings]
    names = dict.fromkeys([*named, *(USUAL if counts else ())])
    metrics = [_metric(name, judged, deciding, counts, roles) for name in names]
    worst = [Result.FAIL, Result.INCONCLUSIVE, Result.MARGINAL, Result.PASS, None]
    return tuple(sorted(metrics, key=lambda metric: (not metric.decided, worst.index(metric.result))))


def _metric(
    name: str,
    judged: Sequence[Judged],
    deciding: Judged | None,
    counts: Mapping[Role, pd.DataFrame],
    roles: Mapping[str, Role],
) -> Metric:
    said = [(one, f) for one in judged for f in one.verdict.findings if base(f.metric) == name]
    spreads = {role: spread for role, its in counts.items() if (spread := spread_of(its))}
    return Metric(
        name=name,
        result=Result.worst(finding.result for _, finding in said) if said else None,
        decided=any(one is deciding and finding in one.deciding for one, finding in said),
        limit=next((one.limits[name] for one in reversed(judged) if name in one.limits), None),
        curves=curves_of(counts, name) if name in DRAWABLE else {},
        levels=tuple(
            Level(one.since, one.at, finding.value)
            for one, finding in {id(one): (one, finding) for one, finding in reversed(said)}.values()
            if finding.value is not None and roles.get(finding.slot) is Role.NEW
        ),
        spreads=spreads if name.startswith("latency") else {},
        compared=tuple(compared for one in judged for compared in one.compared if compared.metric == name),
    )
