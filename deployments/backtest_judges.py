"""The judges that can be asked again, each a function of what was recorded of one share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deployments.backtest_cases import Counted, Paired
from deployments.service_files import load, read_json
from tasks.domain.canary import CanaryConfig, Thresholds
from tasks.domain.errors import InputError
from tasks.domain.model import Result
from tasks.domain.plan import plan_of
from tasks.domain.spec import ServiceFile
from tasks.judge.canary import JUDGES, RESULTS
from tasks.judge.canary_config import read_config
from tasks.judge.comparisons import Comparing
from tasks.judge.judgement import Judgement
from tasks.judge.limits import judge_limits
from tasks.judge.sequential import threshold
from tasks.judge.standings import Terms

SEED = 0
"""Of the noise that Kayenta's judge draws."""


@dataclass(frozen=True)
class Judge:
    """Who is asked.

    Attributes:
        kind: Of what it judges.
        verdict: Judges one share; None where that does not hold what the judge needs.
    """

    name: str
    kind: type[Paired | Counted]
    verdict: Callable[..., Result | None]


@dataclass(frozen=True)
class Asked:
    """All who are asked.

    Attributes:
        metrics: The names of the metric pairs that any of them can use.
    """

    judges: Sequence[Judge]
    metrics: Collection[str]


def read_judges(
    files: Sequence[Path], names: Sequence[str], passing: float | None, marginal: float | None
) -> Asked:
    """The judges that *files* configure: a canary config (``.json``), a service file, or one of each.

    Args:
        names: Which of them; none for all.
        passing: The score from which a canary passes; None for the service file's, or the usual one.
        marginal: Likewise, from which it is marginal.

    Raises:
        InputError: A file is not as it should be, or does not configure a judge that is named; not retried.
    """
    canaries, services = _read(files)
    own = services[0].analysis.canary if services else None
    if own and not canaries:
        canaries = [own.config]
    possible = [*(JUDGES if canaries else ()), *(("limits", "compare") if services else ())]
    for name in names:
        if name not in possible:
            needs = "davy and kayenta need a canary config (.json), limits and compare a service file"
            raise InputError("judge", name, f"one that CONFIG configures ({', '.join(possible)}); {needs}")
    thresholds = _thresholds(own.thresholds if own else Thresholds(), passing, marginal)
    judges: list[Judge] = []
    metrics: set[str] = set()
    for name in dict.fromkeys(names or possible):
        if name in JUDGES:
            config, _ = read_config(canaries[0], strict=name == "davy")
            metrics |= {metric.name for metric in config.metrics}
            judges.append(Judge(name, Paired, partial(_by_pairs, JUDGES[name], config, thresholds)))
        else:
            ask = _by_limits if name == "limits" else _by_comparison
            judges.append(Judge(name, Counted, partial(ask, services[0])))
    return Asked(judges, metrics)


def _thresholds(usual: Thresholds, passing: float | None, marginal: float | None) -> Thresholds:
    found = Thresholds(
        usual.passing if passing is None else passing, usual.marginal if marginal is None else marginal
    )
    if not 0 <= found.marginal <= found.passing <= 100:  # noqa: PLR2004 - scores
        expected = f"a score from 0 to 100, at least --marginal, {found.marginal:g}"
        raise InputError("--pass", found.passing, expected)
    return found


def _read(files: Sequence[Path]) -> tuple[list[object], list[ServiceFile]]:
    canaries = [read_json(path, "config") for path in files if path.suffix == ".json"]
    services = [load(path) for path in files if path.suffix != ".json"]
    if len(canaries) > 1 or len(services) > 1:
        found = ", ".join(map(str, files))
        raise InputError("config", found, "at most one canary config (.json) and one service file")
    return canaries, services


def _by_pairs(
    judge: Callable[..., Judgement], config: CanaryConfig, thresholds: Thresholds, share: Paired
) -> Result:
    return RESULTS[judge(config, share.pairs, thresholds, seed=SEED).classification]


def _by_limits(service: ServiceFile, share: Counted) -> Result:
    limits, mirrored = service.analysis.limits, share.mirrored
    return judge_limits(
        share.frame, limits, share.candidate, restarts=share.restarts, mirrored=mirrored
    ).result


def _by_comparison(service: ServiceFile, share: Counted) -> Result | None:
    analysis = service.analysis
    if share.other is None or not analysis.compare:
        return None
    compare = {str(metric): terms for metric, terms in analysis.compare.items()}
    looks = plan_of(service, service.replicas).compared * len(compare)
    proof = threshold(analysis.error_probability / 100, looks)
    comparing = Comparing(Terms(compare, share.candidate, share.other, proof, mirrored=share.mirrored))
    comparing.feed(share.frame)
    return comparing.verdict().result
