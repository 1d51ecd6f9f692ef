"""Values: splits that add up, results of which the worst decides, errors that name the field."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.errors import DavyError, InputError, PermanentError, TransientError
from tasks.domain.model import Finding, Result, Slot, Split, Traffic, Verdict
from tasks.domain.units import WHOLE


@st.composite
def splits(draw: st.DrawFn) -> Split:
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=3, max_size=3)))
    ends = [0, *cuts, WHOLE]
    return Split({slot: ends[n + 1] - ends[n] for n, slot in enumerate(Slot)})


@given(splits())
def test_a_split_comes_back_as_it_was(split: Split) -> None:
    for again in (
        Split({Slot(slot): share for slot, share in split.to_json().items()}),
        pickle.loads(pickle.dumps(split)),
        copy.deepcopy(split),
    ):
        assert again == split
        assert hash(again) == hash(split)
    assert sum(split[slot] for slot in Slot) == WHOLE


@pytest.mark.parametrize(
    "wrong", [{}, {"blue": 9_999}, {"blue": 5_000, "green": 5_001}, {"blue": 10_001, "green": -1}]
)
def test_shares_that_do_not_add_up_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected shares that add up to 10000"):
        Split({Slot(slot): share for slot, share in wrong.items()})


def test_slots_without_a_share_make_no_difference() -> None:
    assert Split({Slot.BLUE: WHOLE, Slot.CANDIDATE: 0}) == Split.all_to(Slot.BLUE)


def test_users_reach_drawn_matched_and_mirrored_slots_but_not_the_preview() -> None:
    traffic = Traffic(
        Split.all_to(Slot.BLUE), matched=Slot.GREEN, mirror=Slot.CANDIDATE, preview=Slot.BASELINE
    )
    assert [slot for slot in Slot if traffic.reaches(slot)] == [Slot.BLUE, Slot.GREEN, Slot.CANDIDATE]


def test_the_two_colours_take_turns() -> None:
    assert Slot.BLUE.other_colour is Slot.GREEN
    assert Slot.GREEN.other_colour is Slot.BLUE


@given(st.lists(st.sampled_from(Result)))
def test_a_pass_needs_passes_only_and_at_least_one(results: list[Result]) -> None:
    worst = Result.worst(results)
    assert (worst is Result.PASS) == (set(results) == {Result.PASS})
    assert (worst is Result.FAIL) == (Result.FAIL in results)


def test_a_verdict_says_what_decided() -> None:
    bad = Finding("error_rate", "candidate", Result.FAIL, 9.0, "error_rate was 9 %")
    good = Finding("restarts", "candidate", Result.PASS, 0.0, "restarts was 0")
    assert Verdict(Result.FAIL, (good, bad)).reason == "error_rate was 9 %"
    assert Verdict(Result.INCONCLUSIVE).reason == "nothing measured, so inconclusive"


def test_an_input_error_names_field_finding_and_expectation() -> None:
    error = InputError("steps.1.share", 500, "a percentage")
    assert str(error) == "steps.1.share: found 500, expected a percentage"
    assert (error.field, error.found, error.expected) == ("steps.1.share", 500, "a percentage")
    assert isinstance(error, PermanentError)


def test_every_error_is_either_transient_or_permanent() -> None:
    def below(kind: type[DavyError]) -> set[type[DavyError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    for kind in below(DavyError) - {DavyError}:
        assert issubclass(kind, TransientError) != issubclass(kind, PermanentError), kind
