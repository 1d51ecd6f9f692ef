"""Blue-green with a canary trickle: green at full size, a little traffic judged, then all at once."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.carry import carry_out, prepare
from flows.gate import await_approval
from flows.hold import hold_and_judge, look_first
from tasks.domain.changes import BlueGreenCanaryChanges
from tasks.domain.model import Outcome
from tasks.domain.spec import BlueGreenCanary
from tasks.domain.units import WHOLE
from tasks.promotion import check_preview, retire_later, run_hooks
from tasks.provision import provision
from tasks.release import Release
from tasks.traffic import open_preview, shift_traffic


@flow(name="blue-green-canary", flow_run_name="{service.service}-{version}")
def blue_green_canary(
    service: BlueGreenCanary,
    version: str,
    release: str = "",
    starter: str = "",
    changes: BlueGreenCanaryChanges | None = None,
) -> State[None]:
    """Release *version* of *service* by blue-green with a trickle; any failure returns all traffic to stable.

    Args:
        release: The release's id; empty for one made from the flow run's.
        starter: Who started it, for gates; empty where that is not known.
        changes: What is changed of the service file for this run.
    """
    return carry_out(
        trickle_then_switch, "blue-green-canary", service, version, release, starter=starter, changes=changes
    )


def trickle_then_switch(release: Release, service: BlueGreenCanary) -> Outcome:
    """Green at blue's full size gets a trickle; when that is judged good, all traffic moves at once."""
    blue, green, trickle = release.old, release.successor, service.trickle
    prepare(release)
    provision(release, green, release.replicas)
    open_preview(release, green)
    check_preview(release, green, service.preview)
    run_hooks(release, "before")
    look_first(release, green)
    await_approval(release, green, trickle.share)
    shift_traffic(release, green, trickle.share)
    hold_and_judge(release, green, trickle.share, trickle.bake)
    await_approval(release, green, WHOLE)
    shift_traffic(release, green, WHOLE)
    hold_and_judge(release, green, WHOLE, service.watch)
    run_hooks(release, "after")
    retire_later(release, blue, service.scale_down_delay)
    return Outcome.PROMOTED
