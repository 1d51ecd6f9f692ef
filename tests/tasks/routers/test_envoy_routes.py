"""The routes as pure values: what is asked for is what is read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.units import WHOLE
from tasks.routers.envoy_routes import routes_of, split_of
from tests.tasks.routers.rig import service_of


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Any split: three cuts of the whole."""
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=3, max_size=3)))
    edges = [0, *cuts, WHOLE]
    return Split({slot: high - low for slot, low, high in zip(Slot, edges[:-1], edges[1:], strict=True)})


@given(splits(), st.booleans(), st.sampled_from([None, *Slot]))
def test_split_is_read_back_as_written(split: Split, affinity: bool, mirror: Slot | None) -> None:  # noqa: FBT001 - given by hypothesis
    traffic = Traffic(split, mirror=mirror, mirror_share=100, affinity="davy" if affinity else None)
    config = routes_of(service_of("shop", 8080), traffic)["shop"]
    assert split_of(config) == split


@given(splits())
def test_candidate_without_share_is_in_no_route(split: Split) -> None:
    config = routes_of(service_of("shop", 8080), Traffic(split, affinity="davy", affinity_key="r1"))["shop"]
    for slot in Slot:
        assert (f"shop/{slot}" in str(config)) == bool(split[slot])


def test_matches_come_before_pins_and_the_draw_is_last() -> None:
    """A tester with a cookie of stable still gets the candidate."""
    matches = (Match("header", "x-tester", "yes"), Match("cookie", "tester", "yes"))
    traffic = Traffic(Split.all_to(Slot.BLUE), Slot.CANDIDATE, matches, affinity="davy", affinity_key="r1")
    routes = routes_of(service_of("shop", 8080), traffic)["shop"]["virtual_hosts"][0]["routes"]
    targets = [route["route"].get("cluster", "drawn") for route in routes]
    assert targets == ["shop/candidate/sent", "shop/candidate/sent", "shop/blue/sent", "drawn"]
