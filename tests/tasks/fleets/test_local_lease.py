"""The local fleet changes nothing for a carrier that lost its lease, before or halfway."""

from __future__ import annotations

import pytest

from tasks.domain.errors import LeaseLostError
from tasks.domain.model import Health
from tasks.fleets.local import LocalProcesses
from tasks.journal import take
from tests.tasks.fleets.local_replicas import BLUE, SOON, Make, listening, pid_of, running

pytestmark = pytest.mark.alone


@pytest.mark.usefixtures("supervisor")
def test_a_carrier_that_lost_its_lease_changes_nothing(service: Make) -> None:
    fleet = LocalProcesses(service())
    lost = take("shop", "release-1")
    fleet.deploy(BLUE, 2, lost)
    fleet.wait_healthy(BLUE, 2, SOON)
    before = fleet.observe()
    newer = take("shop", "release-1", over=True)
    with pytest.raises(LeaseLostError):
        fleet.deploy(BLUE, 3, lost)
    with pytest.raises(LeaseLostError):
        fleet.retire(BLUE, lost)
    newer.release_now()
    assert fleet.observe() == before


class LeaseLostMeanwhile:
    """A lease that is lost after so many checks."""

    epoch, release = 1, "release-1"

    def __init__(self, checks: int) -> None:
        self.left = checks

    def check(self) -> None:
        """Raise, once it is lost."""
        self.left -= 1
        if self.left < 0:
            raise LeaseLostError


@pytest.mark.usefixtures("supervisor")
def test_a_lease_lost_halfway_stops_the_very_next_change(service: Make) -> None:
    fleet = LocalProcesses(service())
    ports = running(fleet, replicas=2)
    pids = [pid_of(port) for port in ports]
    with pytest.raises(LeaseLostError):
        fleet.retire(BLUE, LeaseLostMeanwhile(checks=1))
    assert all(map(listening, ports))

    running(fleet, replicas=2)  # whoever holds the lease takes them as they are
    assert [pid_of(port) for port in ports] == pids
    with pytest.raises(LeaseLostError):
        fleet.deploy(BLUE, 3, LeaseLostMeanwhile(checks=2))
    assert [r.health for r in fleet.observe()] == [Health.HEALTHY, Health.HEALTHY, Health.STARTING]
