"""A release that is killed, at any point whatever, goes on as if nothing had been, or goes back whole.

Every change to the world and every journal line is a point to die at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.watcher import Watched
from tasks.domain.model import Outcome, Slot, Split
from tasks.domain.spec import Rolling, ServiceFile
from tasks.journal import journal_of
from tasks.record import Record
from tasks.restore import take_back
from tests.rig.bare import run, without_engine
from tests.rig.fakes import make_service, make_world
from tests.rig.world import Died, World, shares_of, unserved

STRATEGIES = ["rolling", "blue-green", "canary", "blue-green-canary"]
REPLICAS = 3
LOOKS = 5
"""More than enough looks of the watcher to end and clear away a release."""


class Stage:
    """Makes one world after the other, in each a service with a stable version."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._made = 0

    def set(self, strategy: str, *, stable: int = REPLICAS, **more: Any) -> tuple[World, ServiceFile]:  # noqa: ANN401 - fields of a service file
        """A new world and its service file."""
        self._made += 1
        name = f"s{self._made}"
        world = make_world(self._monkeypatch, name)
        if stable:
            world.have_stable(stable)
        if strategy == "rolling":
            more = {"max_surge": 1, "max_unavailable": 1} | more
        if strategy == "canary":
            more = {"steps": [{"share": share, "bake": "1ms"} for share in (20, 50)]} | more
        return world, make_service(strategy, name, **{"replicas": REPLICAS} | more)

    def deaths(self, strategy: str, **more: Any) -> Iterator[tuple[str, World, ServiceFile]]:  # noqa: ANN401 - likewise
        """The same release, dead at its first change, at its second, and so on to the last."""
        for number in range(1, 1000):
            world, service = self.set(strategy, **more)
            world.die_at = number
            try:
                run(service)
            except Died as died:
                world.revive()
                yield f"{number}, {died}", world, service
            else:
                return


@pytest.fixture
def stage(home: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    del home
    without_engine(monkeypatch)
    return Stage(monkeypatch)


def record_of(world: World) -> Record:
    return Record.read(journal_of(world.name, "r1"))


def end_of(world: World) -> tuple[object, ...]:
    """The end state, the service's name left out."""
    traffic, running, published = world.end_state()
    assert isinstance(running, dict)
    return traffic, {key.partition("/")[2]: count for key, count in running.items()}, published


def watch(world: World) -> None:
    """What the watcher does once the lease has expired."""
    watched = Watched(journal_of(world.name, "r1"))
    for _ in range(LOOKS):
        watched.look_once()


def broken_promises(world: World, service: ServiceFile) -> list[str]:
    """Moments that users would have noticed."""
    unavailable = service.bounds(REPLICAS)[1] if isinstance(service, Rolling) else 0
    too_few = [
        f"{moment.what}: {sum(moment.serving.values())} serve, {REPLICAS - unavailable} promised"
        for moment in world.history
        if sum(moment.serving.values()) < REPLICAS - unavailable
    ]
    return unserved(world.history) + too_few


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_release_that_is_carried_on_ends_as_if_it_had_not_been_killed(
    stage: Stage, strategy: str
) -> None:
    whole, service = stage.set(strategy)
    assert run(service).name == Outcome.PROMOTED
    assert broken_promises(whole, service) == []
    wrong: dict[str, object] = {}
    for point, world, again in stage.deaths(strategy):
        state = run(again)
        seen = (state.name, shares_of(world.history), end_of(world), broken_promises(world, again))
        if seen != (Outcome.PROMOTED, shares_of(whole.history), end_of(whole), []):
            wrong[point] = (state.message, *seen)
    assert not wrong, "\n".join(f"{point}: {found}" for point, found in wrong.items())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_release_that_nobody_carries_on_goes_back_whole(stage: Stage, strategy: str) -> None:
    whole, service = stage.set(strategy)
    run(service)
    allowed = [*shares_of(whole.history), Split.all_to(Slot.BLUE)]
    at_first, _ = stage.set(strategy)
    wrong: dict[str, object] = {}
    for point, world, back in stage.deaths(strategy):
        watch(world)
        shares = shares_of(world.history)
        if end_of(world) != end_of(at_first) or broken_promises(world, back):
            wrong[point] = (end_of(world), broken_promises(world, back))
        elif any(split not in allowed for split in shares):
            wrong[point] = shares
        elif journal_of(world.name, "r1").exists() and not (record := record_of(world)).closed:
            wrong[point] = ("not closed", record.outcome, record.due)
    assert not wrong, "\n".join(f"{point}: {found}" for point, found in wrong.items())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_release_can_be_taken_back_whatever_point_of_the_way_back_is_killed(
    stage: Stage, strategy: str
) -> None:
    wrong: dict[str, object] = {}
    at_first, _ = stage.set(strategy)
    for number in range(1, 1000):
        world, service = stage.set(strategy)
        world.errors["v2"] = 1.0
        _die_at_verdict(world)
        with pytest.raises(Died):
            run(service)
        world.revive()
        world.die_at = world.changes + number
        try:
            watch(world)
        except Died as died:
            world.revive()
            watch(world)
            if end_of(world) != end_of(at_first) or not record_of(world).closed:
                wrong[f"{number}, {died}"] = (end_of(world), record_of(world).due)
        else:
            break
    assert not wrong, "\n".join(f"{point}: {found}" for point, found in wrong.items())


def _die_at_verdict(world: World) -> None:
    def die(what: str) -> None:
        if what.startswith("journal intent analyse"):
            world.dead = True

    world.on_change = die


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_first_version_that_is_killed_is_carried_on(stage: Stage, strategy: str) -> None:
    whole, service = stage.set(strategy, stable=0)
    assert run(service).name == Outcome.PROMOTED
    wrong: dict[str, object] = {}
    for point, world, again in stage.deaths(strategy, stable=0):
        state = run(again)
        if (state.name, end_of(world)) != (Outcome.PROMOTED, end_of(whole)):
            wrong[point] = (state.name, state.message, end_of(world))
    assert not wrong, "\n".join(f"{point}: {found}" for point, found in wrong.items())


def test_a_first_version_that_nobody_carries_on_leaves_nothing_open(stage: Stage) -> None:
    wrong: dict[str, object] = {}
    for point, world, _ in stage.deaths("rolling", stable=0):
        watch(world)
        if journal_of(world.name, "r1").exists() and not (record := record_of(world)).closed:
            wrong[point] = (record.outcome, record.due, end_of(world))
    assert not wrong, "\n".join(f"{point}: {found}" for point, found in wrong.items())


def test_a_second_carrier_takes_back_what_the_first_one_still_holds(stage: Stage) -> None:
    world, service = stage.set("canary")
    _freeze_at_verdict(world)
    with pytest.raises(Died):
        run(service)
    world.dead = False  # the lease is as fresh as before
    outcome = take_back(journal_of(world.name, "r1"), reason="too slow", outcome=Outcome.ABORTED, by="Ada")
    assert outcome is Outcome.ABORTED
    assert world.traffic is not None
    assert world.traffic.split == Split.all_to(Slot.BLUE)


_freeze_at_verdict = _die_at_verdict
