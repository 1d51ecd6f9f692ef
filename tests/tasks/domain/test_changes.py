"""What a person may change of a service file for one run."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from deployments.service_files import STRATEGIES
from tasks.domain.changes import (
    OF_STRATEGY,
    BlueGreenCanaryChanges,
    CanaryChanges,
    Changes,
    RollingChanges,
    changed,
)
from tasks.domain.errors import InputError
from tasks.domain.spec import Canary, Rolling, ServiceFile, service_adapter
from tasks.domain.units import format_share

BASE = {"service": "shop", "fleet": {"command": "serve"}, "router": {"port": 8080}}


def service(strategy: str) -> ServiceFile:
    return service_adapter.validate_python(BASE | {"strategy": strategy})


@pytest.mark.parametrize("strategy", OF_STRATEGY)
def test_only_what_the_strategy_has_may_change_and_its_own_values_change_nothing(strategy: str) -> None:
    file = service(strategy)
    model = OF_STRATEGY[strategy]
    assert set(model.model_fields) <= set(STRATEGIES[strategy].model_fields)
    assert {"service", "fleet", "router", "gates", "analysis"}.isdisjoint(model.model_fields)
    own = {name: file.model_dump(mode="json")[name] for name in model.model_fields}
    assert changed(file, model.model_validate(own)) == file
    assert changed(file, None) == file
    assert changed(file, model()) == file


def test_what_is_changed_counts_and_the_rest_stays() -> None:
    file = service("canary")
    made = changed(file, CanaryChanges.model_validate({"steps": [{"share": 40}], "watch": "3m"}))
    assert isinstance(made, Canary)
    assert [format_share(one.share) for one in made.steps] == ["40%"]
    assert made.watch == timedelta(minutes=3)
    assert made.model_copy(update={"steps": file.steps, "watch": timedelta(minutes=1)}) == file  # type: ignore[attr-defined]


def test_replicas_may_be_numbers_or_percentages() -> None:
    made = changed(
        service("rolling"), RollingChanges.model_validate({"max_surge": 1, "max_unavailable": "0%"})
    )
    assert isinstance(made, Rolling)
    assert (made.max_surge, made.max_unavailable) == ("1", "0%")


@pytest.mark.parametrize(
    ("strategy", "changes", "said"),
    [
        (
            "canary",
            {"steps": [{"share": 50}, {"share": 20}]},
            "steps.1.share: found 20% after 50%, expected shares that grow",
        ),
        ("canary", {"steps": []}, "steps: found"),
        ("canary", {"watch": "0s"}, "watch: found 0s, expected a duration longer than 0s"),
        ("rolling", {"max_surge": "0", "max_unavailable": "0"}, "found max_surge 0 and max_unavailable 0"),
        ("rolling", {"max_unavailable": "2"}, "found max_unavailable 2 of 2 replicas"),
        ("blue-green-canary", {"trickle": {"share": 100}}, "trickle.share: found 100%, expected less"),
    ],
)
def test_changes_that_do_not_fit_are_refused_naming_the_field(
    strategy: str, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match="changes has 1 fault") as caught:
        changed(service(strategy), OF_STRATEGY[strategy].model_validate(changes))
    assert said in str(caught.value)


@pytest.mark.parametrize("model", [Changes, BlueGreenCanaryChanges])
def test_anything_else_is_no_change(model: type[Changes]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        model.model_validate({"gates": None})
