"""Act: what a person says to a release while it runs, from a form in Prefect or by its API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.outlive import outlive_runner
from tasks.acts import act_on
from tasks.domain.acts import Act
from tasks.domain.errors import ConflictError, InputError

Text = Annotated[str, Field(min_length=1)]
Minutes = Annotated[int, Field(ge=1, le=10_080)]


@flow(name="act", flow_run_name="{act}-{service}")
def act(
    service: Text,
    act: Literal["abort", "promote", "hold", "skip", "retry"],
    *,
    minutes: Minutes = 10,
    name: Text,
    reason: str = "",
) -> State[None]:
    """Abort, promote, hold, skip or retry the release of a service that is under way.

    Args:
        service: Whose release is meant.
        act: abort: all traffic back to stable. promote: skip what is left of bakes and analyses (gates still ask). hold: bake, or wait at the gate, so many minutes longer. skip: end this bake unjudged. retry: begin this bake and its analysis anew.
        minutes: Only with hold: how much longer from now.
        name: Your own name, recorded as claimed.
        reason: Recorded with the act.
    """
    outlive_runner()
    held_for = timedelta(minutes=minutes) if act == "hold" else timedelta(0)
    try:
        told = act_on(service, Act(act), by=name, reason=reason, held_for=held_for)
    except (ConflictError, InputError) as error:
        return Failed(name="Refused", message=str(error))
    return Completed(message=told)
