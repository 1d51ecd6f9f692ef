"""Take services off the stage, so that later ones have the machine: ``python -m tests.rig.leave FILE...``.

Davy has no verb for it. Works only where no release is under way.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deployments.service_files import load
from tasks.fleets import open_fleet
from tasks.journal import take
from tasks.routers.envoy_leave import unregister


def leave(file: Path) -> None:
    """Stop every replica of a service and make Envoy forget it."""
    service = load(file)
    fleet = open_fleet(service)
    lease = take(service.service, "leave")
    unregister(service.service)
    for revision in {replica.revision for replica in fleet.observe()}:
        fleet.retire(revision, lease)
    lease.release_now()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        leave(Path(argument))
