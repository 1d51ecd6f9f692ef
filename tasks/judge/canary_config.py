"""Read a Kayenta canary config as it is.

Where Kayenta itself would throw, so does this. Where Kayenta takes something else in silence (an
unknown word, a missing part), a strict reading refuses, any other warns and takes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Any, TypeVar

from tasks.domain.canary import CanaryConfig, EffectMeasure, EffectSize, MetricConfig
from tasks.domain.errors import FaultsError, InputError

JUDGES = ("NetflixACAJudge-v1.0",)
"""Names of Kayenta's judges that decide as ours does."""
KEYS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    (): ("canary",),
    ("canary",): ("critical", "direction", "effectSize", "mustHaveData", "muted", "nanStrategy", "outliers"),
    ("canary", "effectSize"): (
        "allowedDecrease",
        "allowedIncrease",
        "criticalDecrease",
        "criticalIncrease",
        "measure",
    ),
    ("canary", "outliers"): ("outlierFactor", "strategy"),
}
"""What a metric's ``analysisConfigurations`` may hold, by part."""
_ALL = 100
"""Percent that weights add up to."""

Word = TypeVar("Word", bound=StrEnum)


def read_config(content: object, *, strict: bool) -> tuple[CanaryConfig, list[str]]:
    """The config, and a warning by field for each thing that is not as it should be.

    Args:
        content: As JSON has it.
        strict: Refuse what Kayenta overlooks. Weights are left to the judge, which mends them.

    Raises:
        InputError: Refused; a `FaultsError` with every fault, not retried.
    """
    if not isinstance(content, Mapping):
        raise InputError("config", _brief(content), "an object with metrics and a classifier")
    faults = _Faults()
    config = _config(content, faults)
    if not strict:
        _check_weights(config, faults)
    refused = faults.refused + faults.doubtful if strict else faults.refused
    if refused:
        subject = "the canary config"
        raise FaultsError(subject, refused)
    return config, [str(fault) for fault in (*faults.doubtful, *faults.noted)]


def find(data: object, *path: str) -> object:
    """What stands at *path*; None where nothing does. A list on the way gives what each item has there."""
    if not path:
        return data
    if isinstance(data, Mapping):
        return find(data.get(path[0]), *path[1:])
    if isinstance(data, list):
        found = [one for item in data if (one := find(item, *path)) is not None]
        return found or None
    return None


@dataclass
class _Faults:
    """What is wrong: for Kayenta too, for Kayenta not (it overlooks it), and for nobody but good to know."""

    refused: list[InputError] = field(default_factory=list)
    doubtful: list[InputError] = field(default_factory=list)
    noted: list[InputError] = field(default_factory=list)


def _config(content: Mapping[str, Any], faults: _Faults) -> CanaryConfig:
    if "canaryConfig" in content:
        expected = "the config by itself, not a request or a stage that holds one"
        faults.refused.append(InputError("canaryConfig", "one inside", expected))
        return CanaryConfig("", ())
    if "services" in content:
        faults.doubtful.append(InputError("services", "the schema of old", "none, and a scopeName by metric"))
    classifier = _object(faults, "classifier", content.get("classifier"))
    return CanaryConfig(
        name=_text(faults, "name", content.get("name")),
        metrics=_metrics(faults, content.get("metrics")),
        judge=_judge(faults, find(content, "judge", "name")),
        templates=_templates(faults, content.get("templates")),
        group_weights=_weights(faults, classifier.get("groupWeights")),
    )


def _object(faults: _Faults, where: str, found: object) -> Mapping[str, Any]:
    if isinstance(found, Mapping):
        return found
    faults.refused.append(InputError(where, _brief(found), "an object"))
    return {}


def _brief(found: object) -> object:
    """A value that is fit for a message."""
    return f"a list of {len(found)}" if isinstance(found, list) else found


def _text(faults: _Faults, where: str, found: object) -> str:
    if found is None or isinstance(found, str):
        return found or ""
    faults.refused.append(InputError(where, _brief(found), "text"))
    return ""


def _judge(faults: _Faults, found: object) -> str:
    if found not in JUDGES:
        faults.noted.append(InputError("judge.name", found, f"{JUDGES[0]}, whose place ours takes"))
    return found if isinstance(found, str) else ""


def _templates(faults: _Faults, found: object) -> Mapping[str, str]:
    templates = _object(faults, "templates", {} if found is None else found)
    return {name: _text(faults, f"templates.{name}", text) for name, text in templates.items()}


def _weights(faults: _Faults, found: object) -> Mapping[str, float]:
    weights = _object(faults, "classifier.groupWeights", {} if found is None else found)
    return {
        group: _number(faults, f"classifier.groupWeights.{group}", weight, 0.0)
        for group, weight in weights.items()
    }


def _check_weights(config: CanaryConfig, faults: _Faults) -> None:
    """Note where scores will not add up to 100."""
    weights, total = config.group_weights, round(sum(config.group_weights.values()), 6)
    groups = {group for metric in config.metrics for group in metric.groups}
    free = sorted(groups - weights.keys())
    where = "classifier.groupWeights"
    if total > _ALL or (total != _ALL and not free):
        faults.noted.append(InputError(where, total, f"weights that add up to {_ALL}; the score is off"))
    elif free and total == _ALL:
        expected = f"something left for {', '.join(free)}, which count for nothing"
        faults.noted.append(InputError(where, total, expected))
    for group in sorted(weights.keys() - groups):
        expected = "a group that a metric is in; its weight is lost"
        faults.noted.append(InputError(f"{where}.{group}", weights[group], expected))


def _metrics(faults: _Faults, found: object) -> tuple[MetricConfig, ...]:
    if not isinstance(found, list) or not found:
        faults.refused.append(InputError("metrics", found, "a list of at least one metric"))
        return ()
    metrics = tuple(_metric(faults, f"metrics.{place}", one) for place, one in enumerate(found))
    seen: set[str] = set()
    for place, metric in enumerate(metrics):
        if metric.name in seen:
            expected = "a name that no other metric has"
            faults.refused.append(InputError(f"metrics.{place}.name", metric.name, expected))
        seen.add(metric.name)
    return metrics


def _metric(faults: _Faults, where: str, found: object) -> MetricConfig:
    content = _object(faults, where, found)
    name = content.get("name")
    if not isinstance(name, str) or not name:
        faults.refused.append(InputError(f"{where}.name", name, "a name"))
    query = _object(faults, f"{where}.query", content.get("query") or {})
    if query.get("customFilter"):
        expected = "customFilterTemplate or customInlineTemplate in its place"
        faults.refused.append(InputError(f"{where}.query.customFilter", query["customFilter"], expected))
    if "extensions" in content:
        expected = "analysisConfigurations; what stands here is not read"
        faults.doubtful.append(InputError(f"{where}.extensions", "the schema of old", expected))
    scope = _text(faults, f"{where}.scopeName", content.get("scopeName"))
    if not scope:
        faults.doubtful.append(InputError(f"{where}.scopeName", None, "the name of a request's scope"))
    groups = _groups(faults, f"{where}.groups", content.get("groups"))
    analysis = _Analysis(faults, f"{where}.analysisConfigurations", content.get("analysisConfigurations"))
    return analysis.metric(str(name), query, groups, scope)


def _groups(faults: _Faults, where: str, found: object) -> tuple[str, ...]:
    groups: Sequence[object] = found if isinstance(found, list) else []
    if (found is not None and not isinstance(found, list)) or any(not isinstance(one, str) for one in groups):
        faults.refused.append(InputError(where, found, "a list of names"))
    elif not groups:
        expected = "at least one name"
        faults.noted.append(InputError(where, found, expected))
    return tuple(str(group) for group in groups)


class _Analysis:
    """A metric's ``analysisConfigurations``."""

    def __init__(self, faults: _Faults, where: str, content: object) -> None:
        self._faults, self._where, self._content = faults, where, content
        for part, known in KEYS.items():
            self._check_keys(part, known)

    def metric(
        self, name: str, query: Mapping[str, Any], groups: tuple[str, ...], scope: str
    ) -> MetricConfig:
        """The metric whose part this is."""
        plain = MetricConfig(name)
        return MetricConfig(
            name,
            query,
            groups,
            scope,
            direction=self._word(plain.direction, "direction"),
            nan=self._word(plain.nan, "nanStrategy"),
            outliers=self._word(plain.outliers, "outliers", "strategy"),
            outlier_factor=self._number(plain.outlier_factor, "outliers", "outlierFactor"),
            effect=self._effect(),
            critical=self._flag("critical"),
            must_have_data=self._flag("mustHaveData"),
            muted=self._flag("muted"),
        )

    def _effect(self) -> EffectSize:
        measure = self._word(EffectMeasure.MEAN_RATIO, "effectSize", "measure")
        return EffectSize(
            measure,
            allowed_increase=self._number(measure.neutral, "effectSize", "allowedIncrease"),
            allowed_decrease=self._number(measure.neutral, "effectSize", "allowedDecrease"),
            critical_increase=self._number(measure.neutral, "effectSize", "criticalIncrease"),
            critical_decrease=self._number(measure.neutral, "effectSize", "criticalDecrease"),
        )

    def _check_keys(self, part: Sequence[str], known: Sequence[str]) -> None:
        where, found = ".".join((self._where, *part)), find(self._content, *part)
        if found is not None and not isinstance(found, Mapping):
            self._faults.doubtful.append(InputError(where, _brief(found), "an object"))
        elif unknown := sorted((found or {}).keys() - known):
            self._faults.doubtful.append(InputError(where, ", ".join(unknown), f"only {', '.join(known)}"))

    def _word(self, default: Word, *path: str) -> Word:
        where, found = self._in_canary(path)
        choices = {str(word): word for word in type(default)}
        if found is not None and found not in choices:
            expected = f"one of {', '.join(choices)}; {default} is the default"
            self._faults.doubtful.append(InputError(where, found, expected))
        return choices.get(str(found), default)

    def _flag(self, name: str) -> bool:
        where, found = self._in_canary((name,))
        if found is not None and not isinstance(found, bool):
            self._faults.doubtful.append(InputError(where, found, "true or false"))
        return found is True

    def _number(self, default: float, *path: str) -> float:
        where, found = self._in_canary(path)
        return default if found is None else _number(self._faults, where, found, default)

    def _in_canary(self, path: Sequence[str]) -> tuple[str, object]:
        """Where something stands, and what does."""
        return ".".join((self._where, "canary", *path)), find(self._content, "canary", *path)


def _number(faults: _Faults, where: str, found: object, default: float) -> float:
    if isinstance(found, int | float) and not isinstance(found, bool) and isfinite(found):
        return float(found)
    faults.refused.append(InputError(where, _brief(found), "a number"))
    return default
