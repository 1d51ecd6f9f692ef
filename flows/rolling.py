"""Rolling: replace stable's replicas batch by batch, each batch judged."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.carry import carry_out, prepare
from flows.gate import await_approval
from flows.hold import hold_and_judge, look_first
from tasks.domain.changes import RollingChanges
from tasks.domain.model import Outcome
from tasks.domain.spec import Rolling
from tasks.promotion import run_hooks
from tasks.provision import provision, shrink
from tasks.release import Release
from tasks.traffic import shift_traffic


@flow(name="rolling", flow_run_name="{service.service}-{version}")
def rolling(
    service: Rolling,
    version: str,
    release: str = "",
    starter: str = "",
    changes: RollingChanges | None = None,
) -> State[None]:
    """Release *version* of *service* batch by batch; any failure puts the old version back.

    Args:
        release: The release's id; empty for one made from the flow run's.
        starter: Who started it, for gates; empty where that is not known.
        changes: What is changed of the service file for this run.
    """
    return carry_out(
        replace_batch_by_batch, "rolling", service, version, release, starter=starter, changes=changes
    )


def replace_batch_by_batch(release: Release, service: Rolling) -> Outcome:
    """Within `max_surge` and `max_unavailable`; shares always follow the replicas."""
    old, new = release.old, release.successor
    prepare(release)
    for number, batch in enumerate(service.batches(release.replicas)):
        if batch.moved:
            await_approval(release, new, batch.share)
            shift_traffic(release, new, batch.moved)
        shrink(release, old, batch.room)
        provision(release, new, batch.new)
        if number == 0:
            run_hooks(release, "before")
            look_first(release, new)
            await_approval(release, new, batch.share)
        shift_traffic(release, new, batch.share)
        hold_and_judge(release, new, batch.share, service.bake)
        shrink(release, old, batch.old)
    run_hooks(release, "after")
    return Outcome.PROMOTED
