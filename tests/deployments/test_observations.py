"""What the observer says of logs whose content is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.observations import NOBODY, Stay, experience, observe
from tasks.domain.errors import PermanentError
from tasks.domain.model import Slot, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(minutes=10))

Write = Callable[..., Path]


def at(seconds: float) -> datetime:
    """So long after the window's start."""
    return START + timedelta(seconds=seconds)


def line(
    seconds: float,
    version: str = "1",
    code: int = 200,
    *,
    place: str = "blue",
    service: str = "shop",
    duration: int = 0,
) -> dict[str, Any]:
    """A line of the access log."""
    return {
        "at": str(at(seconds).timestamp()),
        "cluster": f"{service}/{place}",
        "code": code,
        "flags": "-",
        "duration_ms": duration,
        "version": version,
        "path": "/products",
        "upstream": "127.0.0.1:20000",
    }


def sent(seconds: float, status: int | None = 200, **other: object) -> dict[str, Any]:
    """A line of the load's record."""
    answered = {"time": at(seconds).timestamp(), "url": "http://127.0.0.1:8081/products", "status": status}
    return {**answered, "error": None, "version": "1", "duration": 10.0, **other}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes lines to a file; *tail* follows the last of them as it is."""

    def written(lines: Sequence[dict[str, Any]], tail: str = "") -> Path:
        path = tmp_path / "lines.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines) + tail)
        return path

    return written


def test_failures_count_for_the_version_that_answered(write: Write) -> None:
    log = write([line(1), line(2, "2", 500), line(3, "2", 503), line(4, "1", 500), line(5, "2", 404)])
    seen = observe(log, "shop", WINDOW, [])
    assert seen.requests == 5
    assert seen.failed_by_version == {"2": 2, "1": 1}


def test_failures_of_the_proxy_count_for_the_version_that_lived_there_then(write: Write) -> None:
    stays = [
        Stay(Slot.GREEN, "old", START, at(10)),
        Stay(Slot.GREEN, "new", at(10)),
        Stay(Slot.BLUE, "stable", START),
    ]
    log = write([line(second, "-", 503, place="green") for second in (1, 9, 10, 11, 500)])
    assert observe(log, "shop", WINDOW, stays).failed_by_version == {"old": 2, "new": 3}


def test_failures_of_nobody_are_not_hidden(write: Write) -> None:
    direct = {**line(1, "-", 503), "cluster": "-"}
    log = write([direct, {**direct, "cluster": None, "version": None}, line(2, "-", 503, place="candidate")])
    assert observe(log, "shop", WINDOW, [Stay(Slot.BLUE, "1", START)]).failed_by_version == {NOBODY: 3}


def test_copies_and_other_services_do_not_count(write: Write) -> None:
    log = write([line(1, "2", 500, place="blue/mirror"), line(1, "2", 500, service="shop-two")])
    seen = observe(log, "shop", WINDOW, [])
    assert (seen.requests, seen.failed_by_version, seen.last_answer("2")) == (0, {}, None)


def test_requests_outside_the_window_do_not_count(write: Write) -> None:
    log = write([line(-5), line(0), line(600), line(601)])
    assert observe(log, "shop", WINDOW, []).requests == 1


def test_the_largest_share_is_that_of_one_second(write: Write) -> None:
    quiet = [line(1 + n / 100, "2" if n < 10 else "1") for n in range(100)]
    busy = [line(5 + n / 100, "2" if n < 33 else "1") for n in range(99)]
    shares = observe(write(quiet + busy), "shop", WINDOW, []).largest_share
    assert shares == {"1": 90.0, "2": 33.33}


def test_seconds_with_few_requests_tell_nothing_of_shares(write: Write) -> None:
    log = write([line(1 + n / 100, "2") for n in range(19)] + [line(2 + n / 100, "1") for n in range(20)])
    assert observe(log, "shop", WINDOW, []).largest_share == {"1": 100.0}
    assert observe(log, "shop", WINDOW, [], enough=19).largest_share == {"2": 100.0, "1": 100.0}


def test_only_drawn_requests_make_a_share(write: Write) -> None:
    drawn = [line(1 + n / 100) for n in range(50)]
    matched = [line(1 + n / 100, "2", place="candidate/sent") for n in range(50)]
    seen = observe(write(drawn + matched), "shop", WINDOW, [])
    assert (seen.requests, seen.largest_share) == (100, {"1": 100.0})


def test_exposure_runs_from_the_first_error_to_the_last_answer(write: Write) -> None:
    log = write(
        [
            line(1, "2"),
            line(3, "2", 500, duration=500),
            line(2, "2", 500, duration=4000),
            line(5, "2", duration=1250),
            line(9, "1"),
        ]
    )
    seen = observe(log, "shop", WINDOW, [])
    assert seen.first_error("2") == at(3.5)
    assert seen.last_answer("2") == at(6.25)
    assert seen.exposure("2") == timedelta(seconds=2.75)
    assert (seen.first_error("1"), seen.exposure("1")) == (None, None)


def test_a_line_that_is_being_written_is_left_out(write: Write) -> None:
    log = write([line(1)], tail=json.dumps(line(2))[:40])
    assert observe(log, "shop", WINDOW, []).requests == 1


@pytest.mark.parametrize("broken", ["not json", "[]", "{}", '{"time": null}'])
def test_an_unreadable_line_is_named(write: Write, broken: str) -> None:
    log = write([line(1)], tail=f"{broken}\n{json.dumps(line(2))}\n")
    with pytest.raises(PermanentError, match=r"lines\.jsonl:2: found .*, expected a JSON object"):
        observe(log, "shop", WINDOW, [])


def test_no_log_is_not_a_quiet_log(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="expected a readable file"):
        observe(tmp_path / "none", "shop", WINDOW, [])


def test_users_failures_are_told_in_full(write: Write) -> None:
    refused = sent(2, None, error="ClientConnectorError: refused", version=None)
    record = write([sent(1), refused, sent(3, 503, version="2"), sent(4, 404), sent(700, 500)])
    seen = experience(record, WINDOW)
    assert seen.requests == 4
    assert [(one.time, one.reason, one.version) for one in seen.failures] == [
        (at(2), "ClientConnectorError: refused", None),
        (at(3), "status 503", "2"),
    ]


def test_users_of_one_address(write: Write) -> None:
    other = sent(2, 500, url="http://127.0.0.1:8082/products")
    seen = experience(write([sent(1), other]), WINDOW, "http://127.0.0.1:8081")
    assert (seen.requests, seen.failures) == (1, ())


def test_percentiles_of_answers(write: Write) -> None:
    durations = [sent(1, duration=float(n)) for n in range(1, 101)]
    seen = experience(write([*durations, sent(2, None, error="TimeoutError: ", duration=5000.0)]), WINDOW)
    assert (seen.p50, seen.p99) == (timedelta(milliseconds=50), timedelta(milliseconds=99))
    assert experience(write([]), WINDOW).p99 is None
