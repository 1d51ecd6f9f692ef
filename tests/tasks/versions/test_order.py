"""Which version is the newest, and which is older than another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domain.versions import SEMVER
from tasks.versions.order import is_older, matching, newest


def best(names: list[str], pattern: str = SEMVER, *, prereleases: bool = False) -> str | None:
    tag = newest(matching(names, pattern), prereleases=prereleases)
    return tag.name if tag else None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1.9.0", "1.10.0", "1.2.0"], "1.10.0"),
        (["v1.9", "1.8.5"], "v1.9"),
        (["1.0.0", "latest", "main", "sha-abc"], "1.0.0"),
        (["1.0.0", "1.1.0-rc.1"], "1.0.0"),
        (["1.1.0-rc.1"], None),
        ([], None),
    ],
)
def test_the_newest_semantic_version(names: list[str], expected: str | None) -> None:
    assert best(names) == expected


def test_releases_come_after_their_own_candidates() -> None:
    assert best(["1.1.0-rc.2", "1.1.0-rc.10", "1.1.0-rc.9"], prereleases=True) == "1.1.0-rc.10"
    assert best(["1.1.0-rc.2", "1.1.0"], prereleases=True) == "1.1.0"


def test_dates_are_compared_as_numbers_where_they_are_no_semantic_versions() -> None:
    assert best(["2026.09.30", "2026.10.02", "2026.10.01"], r"\d{4}\.\d\d\.\d\d") == "2026.10.02"


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 3), min_size=1))
def test_the_newest_is_the_same_in_whatever_order_the_tags_come(numbers: list[tuple[int, ...]]) -> None:
    names = [".".join(map(str, one)) for one in numbers]
    assert best(names) == best(names[::-1]) == ".".join(map(str, max(numbers)))


@pytest.mark.parametrize(
    ("version", "than", "older"),
    [
        ("1.9.0", "1.10.0", True),
        ("1.10.0", "1.9.0", False),
        ("1.0.0", "1.0.0+build7", False),
        ("1.0.0-rc.1", "1.0.0", True),
        ("1.0.0-1", "1.0.0", True),
        ("v1.2", "1.3.0", True),
        ("2026.01.05", "2026.10.01", True),
        ("abc123", "1.0.0", False),
        ("sha256:aa", "sha256:bb", False),
    ],
)
def test_only_versions_that_can_be_compared_are_older(version: str, than: str, *, older: bool) -> None:
    assert is_older(version, than) is older


def test_the_part_that_a_pattern_names_is_compared() -> None:
    pattern = r"web-(?P<version>.+)"
    assert is_older("web-1.9.0", "web-1.10.0", pattern)
    assert is_older("web-1.9.0", "1.10.0", pattern), "stable may have been released under a plain name"
