"""What a person may change of a service file for one run. Defaults and bounds are the strategies' own.

A field that is left out keeps what the service file says.
"""

from __future__ import annotations

from typing import Literal, TypeVar, cast

from pydantic import Field, ValidationError

from tasks.domain.errors import FaultsError
from tasks.domain.faults import faults_of
from tasks.domain.parts import Part, Step
from tasks.domain.replicas import Replicas
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.domain.units import Duration


class Changes(Part):
    """What every strategy lets change. Titles and descriptions are those of the run's form."""

    on_failure: Literal["revert", "freeze"] | None = Field(None, title="When it fails")
    """revert: it is taken back at once. freeze: it stops where it is and calls for a person."""
    on_conflict: Literal["reject", "queue", "supersede"] | None = Field(
        None, title="When another is under way"
    )
    """reject: this one is refused. queue: it waits. supersede: the other one is taken back first."""


class RollingChanges(Changes):
    """What a rolling release lets change."""

    max_surge: Replicas | None = Field(None, title="Replicas more")
    """How many replicas more than usual may run: a number, or percent of all, rounded up."""
    max_unavailable: Replicas | None = Field(None, title="Replicas fewer")
    """How many replicas fewer than usual may be healthy: a number, or percent of all, rounded down."""
    bake: Duration | None = Field(None, title="Bake")
    """How long each batch is watched before it is judged."""


class BlueGreenChanges(Changes):
    """What a blue-green release lets change."""

    watch: Duration | None = Field(None, title="Watch")
    """How long the new version is watched once it has all traffic."""


class BlueGreenCanaryChanges(BlueGreenChanges):
    """What a blue-green release with a trickle lets change."""

    trickle: Step | None = Field(None, title="Trickle")
    """The share of live requests that is judged before all traffic moves."""


class CanaryChanges(BlueGreenChanges):
    """What a canary lets change."""

    steps: tuple[Step, ...] | None = Field(None, title="Steps")
    """Shares of live requests to hold, each larger than the one before."""
    baseline: bool | None = Field(None, title="Baseline")
    """Run the old version beside the new one, same size and age, to compare with; else compare with stable."""
    promote: bool | None = Field(None, title="Promote")
    """Give the version all traffic at the end; else it is only tried, and removed."""


OF_STRATEGY: dict[str, type[Changes]] = {
    "rolling": RollingChanges,
    "blue-green": BlueGreenChanges,
    "canary": CanaryChanges,
    "blue-green-canary": BlueGreenCanaryChanges,
}

S = TypeVar("S", bound=ServiceFile)


def changed(service: S, changes: Changes | None) -> S:
    """The service file for one run; it is read as a whole again.

    Raises:
        InputError: A `FaultsError` with each field that does not fit; not retried.
    """
    if changes is None:
        return service
    update = changes.model_dump(mode="json", exclude_none=True)
    try:
        return cast("S", service_adapter.validate_python(service.model_dump(mode="json") | update))
    except ValidationError as error:
        raise FaultsError("changes", faults_of(type(service), error)) from None
