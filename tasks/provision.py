"""Run revisions: as many healthy replicas as a step needs, where the router can find them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil

from prefect.futures import wait

from tasks.domain.model import Health, Revision
from tasks.domain.units import WHOLE
from tasks.release import Carrier, Release
from tasks.step import reading, step
from tasks.turns import recent


@step("register")
def register(release: Release) -> None:
    """Make the service known to the router. Changes nothing where it is known.

    Raises:
        TransientError: The proxy does not answer; retried.
        PermanentError: The proxy refuses, as with a port in use; not retried.
    """
    carrier = Carrier.of(release)
    carrier.router.register(carrier.lease)


@step("clear-leftovers")
def clear_leftovers(release: Release) -> None:
    """Retire at once what earlier releases left to be retired later.

    Raises:
        TransientError: Fleet or router do not answer; retried.
    """
    carrier = Carrier.of(release)
    kept = {release.stable, release.successor}
    for revision in {replica.revision for replica in carrier.fleet.observe()} - kept:
        carrier.remove(revision)
    for earlier in recent(release.name):
        for revision, _ in earlier.due:
            journal = type(carrier.journal)(carrier.journal.path.with_stem(earlier.release))
            journal.append("retired", slot=revision.slot, version=revision.version, by=release.id)


def provision(release: Release, revision: Revision, replicas: int) -> None:
    """Run *replicas* healthy copies of *revision*, more where stable has grown, where the router can find them.

    Raises:
        UnhealthyError: They did not become healthy in time; not retried.
        TransientError: Fleet or router do not answer; retried.
    """
    run_replicas(release, revision, needed(release, revision, replicas))


@reading("count-{revision.slot}")
def needed(release: Release, revision: Revision, replicas: int) -> int:
    """*replicas*, or more where stable has grown since the release was opened, as by its autoscaler.

    Never fewer than run already: nothing is taken away from a revision that may have traffic.

    Raises:
        TransientError: The fleet does not answer; retried.
    """
    running = Counter(
        r.revision for r in Carrier.of(release).fleet.observe() if r.health is not Health.STOPPING
    )
    grown = running[release.stable] / release.replicas if release.stable else 1
    return max(replicas, ceil(replicas * grown), running[revision])


@step("provision-{revision.slot}-{replicas}")
def run_replicas(release: Release, revision: Revision, replicas: int) -> None:
    """Run exactly *replicas* healthy copies of *revision* and tell the router where they are.

    Raises:
        UnhealthyError: They did not become healthy in time; not retried.
        TransientError: Fleet or router do not answer; retried.
    """
    carrier = Carrier.of(release)
    carrier.fleet.deploy(revision, replicas, carrier.lease)
    carrier.fleet.wait_healthy(revision, replicas, release.service.fleet.ready_within)
    carrier.publish(revision)


@step("shrink-{revision.slot}-{replicas}")
def shrink(release: Release, revision: Revision, replicas: int) -> None:
    """Leave only *replicas* copies of *revision*; the others first end what they are answering.

    Raises:
        TransientError: Fleet or router do not answer; retried.
    """
    carrier = Carrier.of(release)
    here = sorted((r for r in carrier.fleet.observe() if r.revision == revision), key=lambda r: r.number)
    kept = [replica.address for replica in here[:replicas]]
    carrier.router.publish(revision.slot, kept, carrier.lease)
    carrier.fleet.deploy(revision, replicas, carrier.lease)


def provision_together(release: Release, revisions: Sequence[Revision], replicas: int) -> None:
    """Provision several revisions side by side, so that they are of one age.

    Raises:
        UnhealthyError: One of them did not become healthy in time; not retried.
    """
    counts = [needed(release, revision, replicas) for revision in revisions]
    futures = [run_replicas.submit(release, *one) for one in zip(revisions, counts, strict=True)]
    wait(futures)
    for future in futures:
        future.result()


def replicas_for(share: int, replicas: int) -> int:
    """How many copies a share needs, when all requests need *replicas*: at least one.

    Args:
        share: Basis points.
    """
    return max(1, ceil(share * replicas / WHOLE))
