"""Canary: widen a small candidate's share of live traffic, one judged step at a time."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.carry import carry_out, prepare
from flows.gate import await_approval
from flows.hold import hold_and_judge, look_first
from tasks.domain.changes import CanaryChanges
from tasks.domain.model import Outcome
from tasks.domain.spec import Canary
from tasks.domain.units import WHOLE
from tasks.promotion import retire, retire_later, run_hooks
from tasks.provision import provision, provision_together, replicas_for
from tasks.release import Release
from tasks.traffic import shift_traffic


@flow(name="canary", flow_run_name="{service.service}-{version}")
def canary(
    service: Canary, version: str, release: str = "", starter: str = "", changes: CanaryChanges | None = None
) -> State[None]:
    """Release *version* of *service* by canary; any failure returns all traffic to stable.

    Args:
        release: The release's id; empty for one made from the flow run's.
        starter: Who started it, for gates; empty where that is not known.
        changes: What is changed of the service file for this run.
    """
    return carry_out(
        widen_step_by_step, "canary", service, version, release, starter=starter, changes=changes
    )


def widen_step_by_step(release: Release, service: Canary) -> Outcome:
    """Candidate beside a baseline of the old version, judged at each share, then all traffic."""
    candidate, baseline, successor = release.candidate, release.baseline, release.successor
    prepare(release)
    for number, step in enumerate(service.steps):
        compared = [candidate, baseline] if service.has_baseline(step.share) else [candidate]
        provision_together(release, compared, replicas_for(step.share, release.replicas))
        if number == 0:
            run_hooks(release, "before")
            look_first(release, candidate)
        await_approval(release, candidate, step.share)
        shift_traffic(release, candidate, step.share)
        if baseline not in compared:
            retire(release, baseline)
        hold_and_judge(release, candidate, step.share, step.bake)
    if service.promote:
        await_approval(release, candidate, WHOLE)
        provision(release, successor, release.replicas)
        shift_traffic(release, successor, WHOLE)
        hold_and_judge(release, successor, WHOLE, service.watch)
        run_hooks(release, "after")
        retire_later(release, release.old, service.scale_down_delay)
    else:
        shift_traffic(release, candidate, 0)
    retire(release, candidate)
    retire(release, baseline)
    return Outcome.PROMOTED if service.promote else Outcome.TRIED
