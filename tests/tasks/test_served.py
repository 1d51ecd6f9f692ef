"""A new split is confirmed by the requests that are counted, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from math import inf
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.model import Slot, Split, Traffic
from tasks.domain.spec import ServiceFile, service_adapter
from tasks.served import PROOF, await_served, contradicts, evidence_for

NONE, SOME, HALF = (Split({Slot.BLUE: 10_000 - share, Slot.CANDIDATE: share}) for share in (0, 500, 5000))
AT_ONCE, SOON = timedelta(seconds=0.3), timedelta(seconds=5)


def interval(blue: float, candidate: float) -> dict[Slot, float]:
    return {Slot.BLUE: blue, Slot.CANDIDATE: candidate}


def test_the_first_request_proves_a_first_share() -> None:
    assert evidence_for(SOME, NONE, [interval(50, 0)]) < PROOF
    assert evidence_for(SOME, NONE, [interval(50, 0), interval(49, 1)]) == inf


def test_enough_requests_elsewhere_prove_that_a_share_is_gone() -> None:
    assert evidence_for(NONE, HALF, [interval(5, 5), interval(9, 0)]) < PROOF
    assert evidence_for(NONE, HALF, [interval(5, 5), interval(11, 0)]) >= PROOF


def test_requests_of_before_do_not_count_against_those_of_after() -> None:
    """The proxies may take their time: what counts is from when on they follow."""
    assert evidence_for(HALF, SOME, [interval(950, 50)] * 20 + [interval(50, 50)]) >= PROOF


@given(st.integers(1, 9_998), st.integers(1, 9_998), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_what_did_not_change_is_hardly_ever_confirmed(asked: int, before: int, seed: int) -> None:
    """Two hundred intervals of the old split: the chance of a false proof is small, so few are seen."""
    old, new = (Split({Slot.BLUE: 10_000 - share, Slot.CANDIDATE: share}) for share in (before, asked))
    draw = np.random.default_rng(seed)
    counts = [interval(20 - one, one) for one in draw.binomial(20, before / 10_000, 50).astype(float)]
    assert old == new or evidence_for(new, old, counts) < 3 * PROOF


def test_a_request_where_none_should_go_contradicts() -> None:
    assert contradicts(NONE, interval(50, 1))
    assert not contradicts(NONE, interval(50, 0))
    assert not contradicts(SOME, interval(50, 0))


@pytest.fixture
def service() -> ServiceFile:
    return service_adapter.validate_python(
        {
            "service": "shop",
            "strategy": "canary",
            "fleet": {"kind": "kubernetes"},
            "router": {"kind": "istio"},
            "analysis": {"metrics": {"source": "prometheus", "url": "http://127.0.0.1:9", "preset": "istio"}},
        }
    )


Say = Callable[[Callable[[], list[Mapping[Slot, float]]]], None]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Say:
    """A source that counts what it is told."""

    class Source:
        def __init__(self, said: Callable[[], list[Mapping[Slot, float]]]) -> None:
            self._said = said

        def fetch(self, slots: Any, window: Any) -> pd.DataFrame:  # noqa: ANN401 - as the port has them
            del window
            rows = self._said()
            columns = pd.MultiIndex.from_tuples(
                [(str(slot), "requests") for slot in slots], names=["slot", "measure"]
            )
            values = [[row.get(slot, 0.0) for slot in slots] for row in rows]
            return pd.DataFrame(values, columns=columns, dtype="float64")

    return lambda said: monkeypatch.setattr("tasks.served.open_metrics", lambda _service: Source(said))


def test_it_returns_as_soon_as_requests_follow(service: ServiceFile, source: Say) -> None:
    source(lambda: [interval(50, 0), interval(49, 1)])
    await_served(service, Traffic(SOME), SOME, NONE, timedelta(minutes=5))


def test_requests_that_still_go_there_are_an_error(service: ServiceFile, source: Say) -> None:
    source(lambda: [interval(25, 25)])
    with pytest.raises(
        TransientError, match="shop: requests went to blue 25, candidate 25 in the last interval"
    ):
        await_served(service, Traffic(NONE), NONE, HALF, AT_ONCE)


@pytest.mark.parametrize("silent", [True, False], ids=["no requests", "a source that refuses"])
def test_without_requests_nothing_contradicts(service: ServiceFile, source: Say, *, silent: bool) -> None:
    def said() -> list[Mapping[Slot, float]]:
        if silent:
            return []
        raise PermanentError("refused")

    source(said)
    await_served(service, Traffic(NONE), NONE, HALF, AT_ONCE)


def test_nothing_is_asked_where_nothing_changed_or_no_split_decides(
    service: ServiceFile, source: Say
) -> None:
    source(lambda: pytest.fail("asked"))
    await_served(service, Traffic(SOME), SOME, SOME, SOON)
    await_served(service, Traffic(SOME), SOME, None, SOON)
    await_served(service, Traffic(SOME, affinity="davy"), SOME, NONE, SOON)


def test_a_baseline_that_goes_next_contradicts_nothing(service: ServiceFile, source: Say) -> None:
    thirds = Split({Slot.BLUE: 6000, Slot.BASELINE: 2000, Slot.CANDIDATE: 2000})
    source(lambda: [{Slot.BLUE: 30.0, Slot.BASELINE: 20.0, Slot.CANDIDATE: 50.0}])
    await_served(service, Traffic(HALF), HALF, thirds, SOON)
