"""Durations and shares: what people write is what the code holds, and comes back as it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.units import (
    WHOLE,
    format_duration,
    format_share,
    parse_duration,
    parse_share,
    to_percent,
)

milliseconds = st.integers(0, 10_000 * 86_400_000).map(lambda n: timedelta(milliseconds=n))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("1.5m", 90),
        ("2h", 7200),
        ("7d", 604_800),
        (" 5 s ", 5),
        ("0s", 0),
        ("0.001s", 0.001),
    ],
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "30",
        30,
        1.5,
        None,
        "s",
        "-5s",
        "5 minutes",
        "1e3s",
        "5S",
        "1h30m",
        [],
        "NaNs",
        "∞s",
        "0.4ms",
        "9" * 40 + "d",
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_found(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"found .*, expected"):
        parse_duration(wrong)


@given(milliseconds)
def test_every_duration_comes_back_as_it_was(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.from_regex(r"\A\d{1,60}(\.\d{1,60})?\s?(ms|s|m|h|d)\Z"))
def test_a_duration_that_is_read_can_be_written_and_read_again(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017 - a refusal is right too
        return
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("written", "points"),
    [(5, 500), (2.5, 250), ("2.5%", 250), (" 12.34 % ", 1234), (100, WHOLE), (0, 0), ("0.01", 1), (0.29, 29)],
)
def test_shares_are_read_as_percent(written: object, points: int) -> None:
    assert parse_share(written) == points


@pytest.mark.parametrize(
    "wrong",
    [
        -1,
        100.01,
        0.001,
        "",
        "five",
        None,
        True,
        False,
        [],
        {},
        float("nan"),
        float("inf"),
        1e30,
        "1e999999",
        "5%%",
    ],
)
def test_what_is_no_share_is_refused_with_what_was_found(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"found .*, expected a percentage from 0 to 100"):
        parse_share(wrong)


@given(st.integers(0, WHOLE))
def test_every_share_comes_back_as_it_was(points: int) -> None:
    assert parse_share(to_percent(points)) == points
    assert parse_share(format_share(points)) == points


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.lists(st.integers())))
def test_anything_is_either_read_or_refused(value: object) -> None:
    for parse in (parse_share, parse_duration):
        try:
            parse(value)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017 - a refusal is right too
