"""What people say to a release while it runs, in each strategy: obeyed once, in its own step, and never past a gate."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from deployments.watcher import Watched
from tasks import approval
from tasks.domain.acts import Act
from tasks.domain.gates import Choice
from tasks.domain.model import Outcome, Slot, Split
from tasks.domain.spec import ServiceFile
from tasks.journal import journal_of
from tasks.step_acts import step_of
from tests.flows.people import GATES, LONG, long_bakes, people, record, saying
from tests.rig.bare import run
from tests.rig.fakes import make_service
from tests.rig.world import Died, World, unserved

STRATEGIES = ["rolling", "blue-green", "canary", "blue-green-canary"]
STABLE = Split.all_to(Slot.BLUE)
FIRST = {
    "rolling": "green-50%",
    "blue-green": "green-100%",
    "canary": "candidate-5%",
    "blue-green-canary": "green-5%",
}
"""Each strategy's first step."""


def first_bake_long(strategy: str) -> ServiceFile:
    """Only the first step's bake is long."""
    later: dict[str, dict[str, Any]] = {
        "rolling": {"bake": LONG},
        "blue-green": {"watch": LONG},
        "blue-green-canary": {"trickle": {"share": 5, "bake": LONG}},
        "canary": {"steps": [{"share": 5, "bake": LONG}, {"share": 25, "bake": "1ms"}]},
    }
    return make_service(strategy, **later[strategy])


def outcomes(prefix: str) -> list[str]:
    return [line.key for line in record().all("outcome") if line.key.startswith(prefix)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_promote_skips_what_is_left_and_records_by_whom(world: World, strategy: str) -> None:
    with people((FIRST[strategy], saying(Act.PROMOTE))):
        assert run(long_bakes(strategy)).name == Outcome.PROMOTED
    assert outcomes("analyse") == []
    skipped = [line.data["result"] for line in record().all("outcome") if line.key.startswith("skip-")]
    assert set(skipped) == {"promote by ann (claimed): seen enough"}
    assert len(skipped) == len({step_of(key) for key in outcomes("bake-")})
    assert unserved(world.history) == []
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.GREEN)


@pytest.mark.usefixtures("world")
def test_a_version_that_is_only_tried_stays_so() -> None:
    with people(("candidate-5%", saying(Act.PROMOTE))):
        assert run(long_bakes("canary", promote=False)).name == Outcome.TRIED


@pytest.mark.parametrize("strategy", ["canary", "blue-green-canary", "rolling"])
def test_skip_ends_its_own_step_only(world: World, strategy: str) -> None:
    del world
    with people((FIRST[strategy], saying(Act.SKIP)), *later_steps_skipped(strategy)):
        assert run(first_bake_long(strategy)).name == Outcome.PROMOTED
    assert outcomes("skip-")[0] == f"skip-{FIRST[strategy]}"
    assert not any(FIRST[strategy] in key for key in outcomes("analyse"))
    if strategy != "rolling":
        assert len(outcomes("skip-")) == 1
        assert outcomes("analyse")


def later_steps_skipped(strategy: str) -> list[tuple[str, Callable[[], object]]]:
    """A rolling release has one bake for all its steps, so each has to be skipped."""
    return [("green-100%", saying(Act.SKIP))] if strategy == "rolling" else []


def test_skip_at_the_only_step_of_blue_green_ends_its_watch(world: World) -> None:
    del world
    with people(("green-100%", saying(Act.SKIP))):
        assert run(long_bakes("blue-green")).name == Outcome.PROMOTED
    assert outcomes("skip-") == ["skip-green-100%"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_hold_makes_its_own_bake_longer_and_no_other(world: World, strategy: str) -> None:
    del world
    holds = saying(Act.HOLD, held_for=timedelta(seconds=3))
    with people((FIRST[strategy], holds)):
        assert run(long_bakes(strategy, "1s")).name == Outcome.PROMOTED
    (held,) = record().all("act")
    spans = spans_of_bakes()
    first = spans.pop(f"bake-{FIRST[strategy]}-1")
    assert first[1] >= held.at + timedelta(seconds=3)
    assert all((end - start).total_seconds() < 2.5 for start, end in spans.values())


def spans_of_bakes() -> dict[str, tuple[datetime, datetime]]:
    starts = {line.key: line.at for line in record().all("intent")}
    return {
        line.key: (starts[line.key], line.at)
        for line in record().all("outcome")
        if line.key.startswith("bake-")
    }


def test_the_later_end_of_two_holds_counts(world: World) -> None:
    del world
    deeds = [("green-100%", saying(Act.HOLD, held_for=timedelta(seconds=part))) for part in (1, 0.1)]
    with people(*deeds):
        assert run(long_bakes("blue-green", "300ms")).name == Outcome.PROMOTED
    first, _ = record().all("act")
    assert spans_of_bakes()["bake-green-100%-1"][1] >= first.at + timedelta(seconds=1)


def test_a_proof_does_not_end_a_held_bake(world: World) -> None:
    del world
    journal = journal_of("shop", "r1")

    def holds_then_proves() -> None:
        saying(Act.HOLD, held_for=timedelta(seconds=0.5))()
        journal.append("same", reason="", evidence={})

    with people(("green-100%", holds_then_proves)):
        assert run(long_bakes("blue-green", analysis={"early_pass": True})).name == Outcome.PROMOTED
    (held,) = record().all("act")
    end = spans_of_bakes()["bake-green-100%-1"][1]
    assert held.at + timedelta(seconds=0.5) <= end < held.at + timedelta(seconds=30)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_retry_bakes_in_full_again_and_judges_only_what_came_after(
    world: World, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was bad before the retry isn't judged; the same release without it goes back."""
    del world
    windows: list[datetime] = []
    from tests.rig.fakes import FakeMetrics  # noqa: PLC0415

    fetch = FakeMetrics.fetch

    def noted(source: FakeMetrics, slots: Any, window: Any) -> Any:  # noqa: ANN401
        windows.append(window.start)
        return fetch(source, slots, window)

    monkeypatch.setattr(FakeMetrics, "fetch", noted)

    def retries() -> None:
        time.sleep(0.2)
        saying(Act.RETRY)()

    with people((FIRST[strategy], retries)):
        assert run(long_bakes(strategy, "500ms")).name == Outcome.PROMOTED
    (said,) = record().all("act")
    bake = f"bake-{FIRST[strategy]}-1"
    ends = [line.at for line in record().all("outcome") if line.key == bake]
    assert len(ends) == 2
    assert ends[0] < said.at + timedelta(seconds=0.3)
    assert ends[1] >= said.at + timedelta(seconds=0.5)
    assert min(windows) >= said.at
    later = [key for key in outcomes("bake-") if key != bake]
    assert len(later) == len(set(later))


@pytest.mark.parametrize("act", [Act.PROMOTE, Act.SKIP, Act.RETRY])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_carrier_that_comes_after_a_crash_obeys_the_same_acts_once(
    world: World, strategy: str, act: Act
) -> None:
    service = long_bakes(strategy, "300ms") if act is Act.RETRY else first_bake_long(strategy)

    def dies_after() -> None:
        saying(act)()
        world.dead = True

    with people((FIRST[strategy], dies_after)), pytest.raises(Died):
        run(service)
    world.revive()
    rest = later_steps_skipped(strategy) if act is Act.SKIP else []
    with people(*rest):
        assert run(service).name == Outcome.PROMOTED
    assert len(record().all("act")) == 1 + len(rest)
    skipped = outcomes("skip-")
    assert len(skipped) == len(set(skipped))
    assert bool(skipped) is (act is not Act.RETRY)
    verdicts = outcomes("analyse")
    assert len(verdicts) == len(set(verdicts))
    assert run(service).name == Outcome.PROMOTED, "an end stays an end"


def test_every_death_after_a_promote_is_survived(world: World) -> None:
    """Killed a little later each time, the release is carried on and skips the same steps."""
    service = long_bakes("blue-green-canary")

    def promotes_and_dies() -> None:
        saying(Act.PROMOTE)()
        world.dead = True

    with people(("green-5%", promotes_and_dies)), pytest.raises(Died):
        run(service)
    deaths, ended = 0, ""
    while not ended:
        world.revive()
        world.die_at = world.changes + 2 + deaths
        try:
            ended = run(service).name or ""
        except Died:
            deaths += 1
    assert ended == Outcome.PROMOTED
    assert deaths > 5
    assert outcomes("skip-") == ["skip-green-5%", "skip-green-100%"]


def test_the_guard_takes_back_what_was_promoted(world: World) -> None:
    def goes_bad(what: str) -> None:
        if what == "journal intent skip-candidate-5%":
            world.errors["v2"] = 1.0
            Watched(journal_of("shop", "r1")).look_once()

    world.on_change = goes_bad
    with people(("candidate-5%", saying(Act.PROMOTE))):
        assert run(long_bakes("canary")).name == Outcome.ROLLED_BACK
    assert world.traffic
    assert world.traffic.split == STABLE


def test_a_gate_still_asks_after_a_promote(world: World) -> None:
    del world
    seen: list[str] = []

    def approves() -> None:
        seen.append("asked")
        approval.decide(journal_of("shop", "r1"), Choice.APPROVE, by="bob", reason="")

    with people(("candidate-5%", saying(Act.PROMOTE)), ("gate promotion", approves)):
        assert run(long_bakes("canary", gates=GATES)).name == Outcome.PROMOTED
    assert seen == ["asked"]
    assert record().gate_of("promotion").data["approved"]  # type: ignore[union-attr]
